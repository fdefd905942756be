#pragma once

#include <torch/nn/pimpl.h>

#include "w2vbert/models/modeling_outputs.h"
#include "w2vbert/models/wav2vec2_bert_model.h"
#include "w2vbert/nn/linear.h"
#include "w2vbert/nn/module.h"

namespace w2vbert {

/// HF: modeling_wav2vec2_bert.py, Wav2Vec2BertForAudioFrameClassification.
class Wav2Vec2BertForAudioFrameClassificationImpl
    : public Cloneable<Wav2Vec2BertForAudioFrameClassificationImpl> {
 public:
  /// Throws ConfigError: an adapter.
  explicit Wav2Vec2BertForAudioFrameClassificationImpl(Wav2Vec2BertConfig config);
  void reset() override;
  void pretty_print(std::ostream& stream) const override;

  /// Inputs as of Wav2Vec2BertModel; `options` without stop_after. `labels` (B, T, num_labels),
  /// one-hot of any type, or undefined. HF: the loss counts padded frames too. Throws
  /// c10::ValueError.
  TokenClassifierOutput forward(const torch::Tensor& input_features,
                                const torch::Tensor& attention_mask = {},
                                const torch::Tensor& labels = {},
                                const ForwardOptions& options = {});

  void freeze_base_model();

  Wav2Vec2BertConfig config;
  torch::Tensor layer_weights;  ///< (L + 1), with use_weighted_layer_sum
  Wav2Vec2BertModel wav2vec2_bert = nullptr;
  Linear classifier = nullptr;
};
TORCH_MODULE(Wav2Vec2BertForAudioFrameClassification);

}  // namespace w2vbert
