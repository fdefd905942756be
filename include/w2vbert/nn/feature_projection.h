#pragma once

#include <torch/nn/modules/dropout.h>
#include <torch/nn/modules/normalization.h>
#include <torch/nn/pimpl.h>

#include "w2vbert/config/wav2vec2_bert_config.h"
#include "w2vbert/nn/linear.h"
#include "w2vbert/nn/module.h"

namespace w2vbert {

/// HF: modeling_wav2vec2_bert.py, Wav2Vec2BertFeatureProjection. F is feature_projection_input_dim.
class Wav2Vec2BertFeatureProjectionImpl : public Cloneable<Wav2Vec2BertFeatureProjectionImpl> {
 public:
  struct Output {
    torch::Tensor hidden_states;       ///< (B, T, C)
    torch::Tensor norm_hidden_states;  ///< (B, T, F), before the projection
  };

  /// Throws ConfigError for a config that validate() refuses.
  explicit Wav2Vec2BertFeatureProjectionImpl(Wav2Vec2BertConfig config);
  void reset() override;
  void pretty_print(std::ostream& stream) const override;

  /// `hidden_states` (B, T, F), of the parameters' dtype. Throws c10::ValueError.
  Output forward(torch::Tensor hidden_states);

  torch::nn::LayerNorm layer_norm = nullptr;
  Linear projection = nullptr;
  torch::nn::Dropout dropout = nullptr;

 private:
  Wav2Vec2BertConfig config_;
};
TORCH_MODULE(Wav2Vec2BertFeatureProjection);

}  // namespace w2vbert
