#pragma once

#include <torch/nn/pimpl.h>

#include "w2vbert/config/wav2vec2_bert_config.h"
#include "w2vbert/nn/module.h"

namespace w2vbert {

/// HF: modeling_wav2vec2_bert.py, Wav2Vec2BertRelPositionalEmbedding. Sines in the even channels
/// and cosines in the odd ones, of the distances T - 1 ... -(T - 1).
class Wav2Vec2BertRelPositionalEmbeddingImpl
    : public Cloneable<Wav2Vec2BertRelPositionalEmbeddingImpl>,
      public NonPersistentBuffers {
 public:
  /// Throws ConfigError for a config that validate() refuses.
  explicit Wav2Vec2BertRelPositionalEmbeddingImpl(Wav2Vec2BertConfig config);
  void reset() override;
  void pretty_print(std::ostream& stream) const override;

  /// `hidden_states` (B, T, C) -> (1, 2T - 1, C) of its dtype, on its device. A T above
  /// max_source_positions is computed anew each time: HF keeps the longer table instead. Throws
  /// c10::ValueError.
  torch::Tensor forward(const torch::Tensor& hidden_states);

  torch::Tensor pe;  ///< buffer (1, P, C), float32 also in a model of another dtype, as in HF

 private:
  Wav2Vec2BertConfig config_;
};
TORCH_MODULE(Wav2Vec2BertRelPositionalEmbedding);

}  // namespace w2vbert
