#pragma once

#include <torch/nn/modules/activation.h>
#include <torch/nn/pimpl.h>

#include <cstdint>

#include "w2vbert/config/wav2vec2_bert_config.h"
#include "w2vbert/nn/linear.h"
#include "w2vbert/nn/module.h"

namespace w2vbert {

/// HF: modeling_wav2vec2_bert.py, TDNNLayer: a dilated convolution whose kernel is stored as a
/// Linear.
class TDNNLayerImpl : public Cloneable<TDNNLayerImpl> {
 public:
  /// Layer `layer_id` of tdnn_dim, tdnn_kernel and tdnn_dilation. Throws ConfigError for a config
  /// that validate() refuses, c10::ValueError for a layer_id that they do not have.
  explicit TDNNLayerImpl(Wav2Vec2BertConfig config, std::int64_t layer_id = 0);
  void reset() override;
  void pretty_print(std::ostream& stream) const override;

  /// `hidden_states` (B, T, in) of the parameters' dtype -> (B, T - (kernel - 1) * dilation, out).
  /// Throws c10::ValueError.
  torch::Tensor forward(torch::Tensor hidden_states);

  Linear kernel = nullptr;  ///< weight (out, kernel * in)
  torch::nn::ReLU activation = nullptr;

 private:
  Wav2Vec2BertConfig config_;
  std::int64_t layer_id_;
  std::int64_t in_conv_dim_;
  std::int64_t out_conv_dim_;
  std::int64_t kernel_size_;
  std::int64_t dilation_;
};
TORCH_MODULE(TDNNLayer);

}  // namespace w2vbert
