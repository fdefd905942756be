#pragma once

#include <torch/nn/modules/container/modulelist.h>
#include <torch/nn/pimpl.h>

#include "w2vbert/models/modeling_outputs.h"
#include "w2vbert/models/wav2vec2_bert_model.h"
#include "w2vbert/nn/am_softmax_loss.h"
#include "w2vbert/nn/linear.h"
#include "w2vbert/nn/module.h"
#include "w2vbert/nn/tdnn_layer.h"

namespace w2vbert {

/// HF: modeling_wav2vec2_bert.py, Wav2Vec2BertForXVector.
class Wav2Vec2BertForXVectorImpl : public Cloneable<Wav2Vec2BertForXVectorImpl> {
 public:
  /// Throws ConfigError: an adapter of another width than hidden_size.
  explicit Wav2Vec2BertForXVectorImpl(Wav2Vec2BertConfig config);
  void reset() override;
  void pretty_print(std::ostream& stream) const override;

  /// Inputs as of Wav2Vec2BertModel; `options` without stop_after. `labels`: B whole numbers from 0
  /// to num_labels - 1, long, or undefined. With a mask the rows' lengths are looked at, which
  /// waits for the device, as HF does; HF: they leave dilation out, one frame gives a NaN
  /// deviation, and no frame gives NaN. Throws c10::ValueError, also for fewer frames than the TDNN
  /// layers need.
  XVectorOutput forward(const torch::Tensor& input_features,
                        const torch::Tensor& attention_mask = {}, const torch::Tensor& labels = {},
                        const ForwardOptions& options = {});

  /// forward() behind the base model, and behind the weighted sum of its states where there is one:
  /// (B, T, C) -> (B, xvector_output_dim). `attention_mask` (B, T) or undefined. Throws
  /// c10::ValueError as forward().
  torch::Tensor embeddings_of(const torch::Tensor& states, const torch::Tensor& attention_mask);

  void freeze_base_model();

  Wav2Vec2BertConfig config;
  torch::Tensor layer_weights;  ///< (L + 1), with use_weighted_layer_sum
  Wav2Vec2BertModel wav2vec2_bert = nullptr;
  Linear projector = nullptr;
  torch::nn::ModuleList tdnn = nullptr;  ///< of TDNNLayer
  Linear feature_extractor = nullptr;
  Linear classifier = nullptr;
  AMSoftmaxLoss objective = nullptr;

 private:
  /// (B, T, D) -> (B, 2D): mean and deviation over time.
  torch::Tensor statistic_pooling(const torch::Tensor& hidden_states,
                                  const torch::Tensor& attention_mask) const;
};
TORCH_MODULE(Wav2Vec2BertForXVector);

}  // namespace w2vbert
