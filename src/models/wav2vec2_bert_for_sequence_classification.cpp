#include "w2vbert/models/wav2vec2_bert_for_sequence_classification.h"

#include <torch/types.h>

#include "models/head.h"
#include "models/model_size.h"
#include "nn/check_inputs.h"
#include "nn/make_layers.h"
#include "w2vbert/models/output_lengths.h"

namespace w2vbert {

Wav2Vec2BertForSequenceClassificationImpl::Wav2Vec2BertForSequenceClassificationImpl(
    Wav2Vec2BertConfig model_config)
    : config(std::move(model_config)) {
  refuse_adapter(config, "Wav2Vec2BertForSequenceClassification");
  reset();
}

void Wav2Vec2BertForSequenceClassificationImpl::reset() {
  const auto width = static_cast<double>(config.classifier_proj_size);
  refuse_too_large(config, {{"classifier_proj_size", std::to_string(config.classifier_proj_size),
                             static_cast<double>(config.hidden_size) * width},
                            {"num_labels", std::to_string(config.num_labels),
                             width * static_cast<double>(config.num_labels)}});
  wav2vec2_bert = register_module("wav2vec2_bert", Wav2Vec2BertModel(config));
  if (config.use_weighted_layer_sum) {
    layer_weights = register_parameter("layer_weights", make_layer_weights(config));
  }
  projector =
      register_module("projector", make_linear(config.hidden_size, config.classifier_proj_size));
  classifier =
      register_module("classifier", make_linear(config.classifier_proj_size, config.num_labels));
  init_head(*this, config);
}

torch::Tensor Wav2Vec2BertForSequenceClassificationImpl::logits_of(
    const torch::Tensor& states, const torch::Tensor& attention_mask) {
  auto hidden_states = projector(states);
  torch::Tensor pooled_output;  // (B, classifier_proj_size)
  if (!attention_mask.defined()) {
    pooled_output = hidden_states.mean(1);
  } else {
    const auto padding_mask =
        get_feature_vector_attention_mask(config, hidden_states.size(1), attention_mask);
    hidden_states = hidden_states.masked_fill(padding_mask.logical_not().unsqueeze(-1), 0.0);
    pooled_output = hidden_states.sum(1) / padding_mask.sum(1).view({-1, 1});
  }
  return classifier(pooled_output);
}

SequenceClassifierOutput Wav2Vec2BertForSequenceClassificationImpl::forward(
    const torch::Tensor& input_features, const torch::Tensor& attention_mask,
    const torch::Tensor& labels, const ForwardOptions& options) {
  auto input = head_input(wav2vec2_bert, layer_weights, input_features, attention_mask, options);
  SequenceClassifierOutput output;
  output.logits = logits_of(input.hidden_states, attention_mask);
  if (labels.defined()) {
    check_class_labels(labels, output.logits.size(0));
    check_label_range(labels, *label_range(config, "Wav2Vec2BertForSequenceClassification"));
    output.loss = torch::cross_entropy_loss(output.logits, labels.view(-1));
  }
  output.hidden_states = std::move(input.base.hidden_states);
  output.attentions = std::move(input.base.attentions);
  return output;
}

void Wav2Vec2BertForSequenceClassificationImpl::freeze_base_model() { freeze(wav2vec2_bert); }

void Wav2Vec2BertForSequenceClassificationImpl::pretty_print(std::ostream& stream) const {
  stream << "w2vbert::Wav2Vec2BertForSequenceClassification(" << config.num_labels << " labels)";
}

}  // namespace w2vbert
