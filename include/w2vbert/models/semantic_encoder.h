#pragma once

#include <torch/nn/pimpl.h>

#include "w2vbert/models/wav2vec2_bert_model.h"
#include "w2vbert/nn/module.h"

namespace w2vbert {

/// What IndexTTS-2, MaskGCT and DualCodec take from the encoder: one hidden state, normalised by
/// given statistics. Not in HF; the state is HF's hidden_states[state], later layers are not
/// computed. It shares the model and the statistics that it is given; a clone has its own.
class SemanticEncoderImpl : public Cloneable<SemanticEncoderImpl> {
 public:
  static constexpr std::int64_t kDefaultState = 17;

  /// `mean_values` and `var_values` (C), floating and finite, the latter at least
  /// the smallest normal float32; undefined both:
  /// the state is returned as it is. Throws c10::ValueError.
  explicit SemanticEncoderImpl(Wav2Vec2BertModel base, torch::Tensor mean_values = {},
                               torch::Tensor var_values = {}, std::int64_t state = kDefaultState);
  void reset() override;
  void pretty_print(std::ostream& stream) const override;

  /// `input_features` (B, T, F) and `attention_mask` (B, T) or undefined, as for Wav2Vec2BertModel
  /// -> (B, T, C): (hidden_states[state] - mean) / sqrt(var). Runs without gradients.
  torch::Tensor encode(const torch::Tensor& input_features,
                       const torch::Tensor& attention_mask = {});
  torch::Tensor forward(const torch::Tensor& input_features,
                        const torch::Tensor& attention_mask = {}) {
    return encode(input_features, attention_mask);
  }

  Wav2Vec2BertModel model = nullptr;
  torch::Tensor mean;  ///< buffers (C)
  torch::Tensor var;

 private:
  std::int64_t state_;
};
TORCH_MODULE(SemanticEncoder);

}  // namespace w2vbert
