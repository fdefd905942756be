#pragma once

#include <torch/nn/pimpl.h>

#include "w2vbert/models/modeling_outputs.h"
#include "w2vbert/models/wav2vec2_bert_model.h"
#include "w2vbert/nn/linear.h"
#include "w2vbert/nn/module.h"

namespace w2vbert {

/// HF: modeling_wav2vec2_bert.py, Wav2Vec2BertForSequenceClassification.
class Wav2Vec2BertForSequenceClassificationImpl
    : public Cloneable<Wav2Vec2BertForSequenceClassificationImpl> {
 public:
  /// Throws ConfigError: an adapter.
  explicit Wav2Vec2BertForSequenceClassificationImpl(Wav2Vec2BertConfig config);
  void reset() override;
  void pretty_print(std::ostream& stream) const override;

  /// Inputs as of Wav2Vec2BertModel; `options` without stop_after. `labels` (B), long, from 0 to
  /// num_labels - 1 or -100, which does not count, or undefined. HF: the pooling takes the first n
  /// frames of a row with n valid ones, also where others are valid, and the whole row where no
  /// frame is. Throws c10::ValueError.
  SequenceClassifierOutput forward(const torch::Tensor& input_features,
                                   const torch::Tensor& attention_mask = {},
                                   const torch::Tensor& labels = {},
                                   const ForwardOptions& options = {});

  /// forward() behind the base model, and behind the weighted sum of its states where there is one:
  /// (B, T, C) -> (B, num_labels). `attention_mask` (B, T) or undefined.
  torch::Tensor logits_of(const torch::Tensor& states, const torch::Tensor& attention_mask);

  void freeze_base_model();

  Wav2Vec2BertConfig config;
  torch::Tensor layer_weights;  ///< (L + 1), with use_weighted_layer_sum
  Wav2Vec2BertModel wav2vec2_bert = nullptr;
  Linear projector = nullptr;
  Linear classifier = nullptr;
};
TORCH_MODULE(Wav2Vec2BertForSequenceClassification);

}  // namespace w2vbert
