#include "w2vbert/models/wav2vec2_bert_for_audio_frame_classification.h"

#include <torch/types.h>

#include "models/head.h"
#include "models/model_size.h"
#include "nn/check_inputs.h"
#include "nn/make_layers.h"

namespace w2vbert {

Wav2Vec2BertForAudioFrameClassificationImpl::Wav2Vec2BertForAudioFrameClassificationImpl(
    Wav2Vec2BertConfig model_config)
    : config(std::move(model_config)) {
  refuse_adapter(config, "Wav2Vec2BertForAudioFrameClassification");
  reset();
}

void Wav2Vec2BertForAudioFrameClassificationImpl::reset() {
  refuse_too_large(
      config, {{"num_labels", std::to_string(config.num_labels),
                static_cast<double>(config.hidden_size) * static_cast<double>(config.num_labels)}});
  wav2vec2_bert = register_module("wav2vec2_bert", Wav2Vec2BertModel(config));
  if (config.use_weighted_layer_sum) {
    layer_weights = register_parameter("layer_weights", make_layer_weights(config));
  }
  classifier = register_module("classifier", make_linear(config.hidden_size, config.num_labels));
  init_head(*this, config);
}

TokenClassifierOutput Wav2Vec2BertForAudioFrameClassificationImpl::forward(
    const torch::Tensor& input_features, const torch::Tensor& attention_mask,
    const torch::Tensor& labels, const ForwardOptions& options) {
  auto input = head_input(wav2vec2_bert, layer_weights, input_features, attention_mask, options);
  TokenClassifierOutput output;
  output.logits = classifier(input.hidden_states);  // (B, T, C) -> (B, T, num_labels)
  if (labels.defined()) {
    check_dense(labels, "labels");
    TORCH_CHECK_VALUE(labels.sizes() == output.logits.sizes(), "labels: ", labels.sizes(),
                      ", expected one-hot ", output.logits.sizes());
    output.loss = torch::cross_entropy_loss(output.logits.view({-1, config.num_labels}),
                                            labels.reshape({-1, config.num_labels}).argmax(1));
  }
  output.hidden_states = std::move(input.base.hidden_states);
  output.attentions = std::move(input.base.attentions);
  return output;
}

void Wav2Vec2BertForAudioFrameClassificationImpl::freeze_base_model() { freeze(wav2vec2_bert); }

void Wav2Vec2BertForAudioFrameClassificationImpl::pretty_print(std::ostream& stream) const {
  stream << "w2vbert::Wav2Vec2BertForAudioFrameClassification(" << config.num_labels << " labels)";
}

}  // namespace w2vbert
