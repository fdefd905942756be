#pragma once

#include <torch/nn/modules/loss.h>
#include <torch/nn/pimpl.h>

#include <cstdint>

#include "w2vbert/nn/module.h"

namespace w2vbert {

/// HF: modeling_wav2vec2_bert.py, AMSoftmaxLoss.
class AMSoftmaxLossImpl : public Cloneable<AMSoftmaxLossImpl> {
 public:
  AMSoftmaxLossImpl(std::int64_t input_dim, std::int64_t num_labels, double scale = 30.0,
                    double margin = 0.4);
  void reset() override;
  void pretty_print(std::ostream& stream) const override;

  /// `hidden_states` (B, input_dim), of the parameters' dtype; `labels` B whole numbers from 0 to
  /// num_labels - 1, long -> scalar. Throws c10::ValueError; labels on another
  /// device than the CPU are not looked at.
  torch::Tensor forward(torch::Tensor hidden_states, const torch::Tensor& labels);

  torch::nn::CrossEntropyLoss loss = nullptr;
  torch::Tensor weight;  ///< (input_dim, num_labels)

 private:
  std::int64_t input_dim_;
  std::int64_t num_labels_;
  double scale_;
  double margin_;
};
TORCH_MODULE(AMSoftmaxLoss);

}  // namespace w2vbert
