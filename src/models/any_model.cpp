#include "w2vbert/models/any_model.h"

#include <algorithm>
#include <type_traits>

#include "core/text.h"
#include "w2vbert/core/error.h"
#include "w2vbert/models/wav2vec2_bert_for_audio_frame_classification.h"
#include "w2vbert/models/wav2vec2_bert_for_ctc.h"
#include "w2vbert/models/wav2vec2_bert_for_sequence_classification.h"
#include "w2vbert/models/wav2vec2_bert_for_xvector.h"
#include "w2vbert/models/wav2vec2_bert_model.h"

namespace w2vbert {
namespace {

template <class Output>
ModelOutputs named(const Output& output) {
  ModelOutputs outputs;
  const auto add = [&](const std::string& name, const torch::Tensor& tensor) {
    if (tensor.defined()) outputs.emplace_back(name, tensor);
  };
  if constexpr (std::is_same_v<Output, Wav2Vec2BertBaseModelOutput>) {
    add("last_hidden_state", output.last_hidden_state);
    add("extract_features", output.extract_features);
  } else {
    add("loss", output.loss);
    add("logits", output.logits);
  }
  if constexpr (std::is_same_v<Output, XVectorOutput>) add("embeddings", output.embeddings);
  const auto add_numbered = [&](const std::string& name, const auto& tensors) {
    for (std::size_t i = 0; tensors && i < tensors->size(); ++i) {
      add(name + "." + std::to_string(i), (*tensors)[i]);
    }
  };
  add_numbered("hidden_states", output.hidden_states);
  add_numbered("attentions", output.attentions);
  return outputs;
}

// What another class takes is not left aside in silence.
void refuse_input(const torch::Tensor& input, const char* input_name,
                  const std::string& class_name) {
  TORCH_CHECK_VALUE(!input.defined(), input_name, ": is not an input of ", class_name,
                    ", expected ", comma_list(AnyModel::inputs(class_name)));
}

}  // namespace

template <class Holder>
void AnyModel::hold(const Wav2Vec2BertConfig& config) {
  Holder model(config);
  module_ = model.ptr();
  config_ = &model->config;
  forward_ = [model, class_name = class_of(config)](const ModelInputs& inputs,
                                                    const ForwardOptions& options) mutable {
    if constexpr (std::is_same_v<Holder, Wav2Vec2BertModel>) {
      refuse_input(inputs.labels, "labels", class_name);
      return named(model->forward(inputs.input_features, inputs.attention_mask,
                                  inputs.mask_time_indices, options));
    } else {
      refuse_input(inputs.mask_time_indices, "mask_time_indices", class_name);
      return named(
          model->forward(inputs.input_features, inputs.attention_mask, inputs.labels, options));
    }
  };
}

AnyModel::AnyModel(const Wav2Vec2BertConfig& config) {
  const std::string& name = class_of(config);
  if (name == "Wav2Vec2BertModel") {
    hold<Wav2Vec2BertModel>(config);
  } else if (name == "Wav2Vec2BertForCTC") {
    hold<Wav2Vec2BertForCTC>(config);
  } else if (name == "Wav2Vec2BertForSequenceClassification") {
    hold<Wav2Vec2BertForSequenceClassification>(config);
  } else if (name == "Wav2Vec2BertForAudioFrameClassification") {
    hold<Wav2Vec2BertForAudioFrameClassification>(config);
  } else if (name == "Wav2Vec2BertForXVector") {
    hold<Wav2Vec2BertForXVector>(config);
  } else {
    TORCH_INTERNAL_ASSERT(false, name, " is among classes(), and nothing makes it");
  }
}

const std::string& AnyModel::class_of(const Wav2Vec2BertConfig& config, const std::string& path) {
  if (config.architectures.empty()) {
    throw ConfigError(path, "architectures", "absent or empty, which names no class",
                      comma_list(classes()));
  }
  const std::string& name = config.architectures.front();
  if (std::find(classes().begin(), classes().end(), name) == classes().end()) {
    throw ConfigError(path, "architectures", "names " + quote_bytes(name) + ", which is not known",
                      comma_list(classes()));
  }
  return name;
}

const std::vector<std::string>& AnyModel::classes() {
  static const std::vector<std::string> kClasses = {
      "Wav2Vec2BertForAudioFrameClassification", "Wav2Vec2BertForCTC",
      "Wav2Vec2BertForSequenceClassification", "Wav2Vec2BertForXVector", "Wav2Vec2BertModel"};
  return kClasses;
}

const std::vector<std::string>& AnyModel::inputs(const std::string& class_name) {
  static const std::vector<std::string> kOfBase = {"input_features", "attention_mask",
                                                   "mask_time_indices"};
  static const std::vector<std::string> kOfHeads = {"input_features", "attention_mask", "labels"};
  TORCH_CHECK_VALUE(std::find(classes().begin(), classes().end(), class_name) != classes().end(),
                    "class_name: ", quote_bytes(class_name), ", expected one of ",
                    comma_list(classes()));
  return class_name == "Wav2Vec2BertModel" ? kOfBase : kOfHeads;
}

ModelOutputs AnyModel::forward(const ModelInputs& inputs, const ForwardOptions& options) {
  return forward_(inputs, options);
}

}  // namespace w2vbert
