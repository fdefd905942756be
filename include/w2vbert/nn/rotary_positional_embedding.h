#pragma once

#include <torch/nn/pimpl.h>

#include "w2vbert/config/wav2vec2_bert_config.h"
#include "w2vbert/nn/module.h"

namespace w2vbert {

/// HF: modeling_wav2vec2_bert.py, Wav2Vec2BertRotaryPositionalEmbedding, without the table it keeps
/// from the last call. Heads of size D.
class Wav2Vec2BertRotaryPositionalEmbeddingImpl
    : public Cloneable<Wav2Vec2BertRotaryPositionalEmbeddingImpl>,
      public NonPersistentBuffers {
 public:
  /// Throws ConfigError for a config that validate() refuses.
  explicit Wav2Vec2BertRotaryPositionalEmbeddingImpl(Wav2Vec2BertConfig config);
  void reset() override;
  void pretty_print(std::ostream& stream) const override;

  /// `hidden_states` (B, T, C) -> (2, T, 1, 1, D) of its dtype, on its device: cosines, sines.
  /// Throws c10::ValueError.
  torch::Tensor forward(const torch::Tensor& hidden_states);

  torch::Tensor inv_freq;  ///< buffer (D / 2), float32 also in a model of another dtype, as in HF

 private:
  Wav2Vec2BertConfig config_;
};
TORCH_MODULE(Wav2Vec2BertRotaryPositionalEmbedding);

}  // namespace w2vbert
