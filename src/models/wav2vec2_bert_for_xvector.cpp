#include "w2vbert/models/wav2vec2_bert_for_xvector.h"

#include <torch/types.h>

#include "models/head.h"
#include "models/model_size.h"
#include "nn/check_inputs.h"
#include "nn/make_layers.h"
#include "w2vbert/core/error.h"
#include "w2vbert/models/output_lengths.h"

namespace w2vbert {
namespace {

std::vector<ModelPart> parts_of_head(const Wav2Vec2BertConfig& config) {
  ModelPart tdnn = {"tdnn_dim", ""};
  auto width = static_cast<double>(config.hidden_size);
  for (std::size_t i = 0; i < config.tdnn_dim.size(); ++i) {
    const auto output = static_cast<double>(config.tdnn_dim[i]);
    if (i == 0) {
      tdnn.parameters += width * output;  // the projector
      width = output;
    }
    tdnn.parameters += width * output * static_cast<double>(config.tdnn_kernel[i]);
    tdnn.value += (i == 0 ? "" : ", ") + std::to_string(config.tdnn_dim[i]);
    width = output;
  }
  tdnn.value = "[" + tdnn.value + "]";
  const auto embedding = static_cast<double>(config.xvector_output_dim);
  return {tdnn,
          {"xvector_output_dim", std::to_string(config.xvector_output_dim),
           (2 * width + embedding) * embedding},
          {"num_labels", std::to_string(config.num_labels),
           embedding * static_cast<double>(config.num_labels)}};
}

}  // namespace

Wav2Vec2BertForXVectorImpl::Wav2Vec2BertForXVectorImpl(Wav2Vec2BertConfig model_config)
    : config(std::move(model_config)) {
  if (config.add_adapter && config.adapter_size() != config.hidden_size) {
    throw ConfigError(
        "config", "output_hidden_size",
        std::to_string(config.adapter_size()) + " is not supported by Wav2Vec2BertForXVector",
        "hidden_size = " + std::to_string(config.hidden_size));
  }
  if (config.tdnn_dim.empty()) {
    throw ConfigError("config", "tdnn_dim", "[] is not supported by Wav2Vec2BertForXVector",
                      "one width or more");
  }
  reset();
}

void Wav2Vec2BertForXVectorImpl::reset() {
  config.validate();  // that there is a kernel for each width
  refuse_too_large(config, parts_of_head(config));
  wav2vec2_bert = register_module("wav2vec2_bert", Wav2Vec2BertModel(config));
  if (config.use_weighted_layer_sum) {
    layer_weights = register_parameter("layer_weights", make_layer_weights(config));
  }
  projector =
      register_module("projector", make_linear(config.hidden_size, config.tdnn_dim.front()));
  tdnn = register_module("tdnn", torch::nn::ModuleList());
  for (std::size_t i = 0; i < config.tdnn_dim.size(); ++i) {
    tdnn->push_back(TDNNLayer(config, static_cast<std::int64_t>(i)));
  }
  const auto embedding = config.xvector_output_dim;
  feature_extractor =
      register_module("feature_extractor", make_linear(config.tdnn_dim.back() * 2, embedding));
  classifier = register_module("classifier", make_linear(embedding, embedding));
  objective = register_module("objective", AMSoftmaxLoss(embedding, config.num_labels));
  init_head(*this, config);
}

torch::Tensor Wav2Vec2BertForXVectorImpl::embeddings_of(const torch::Tensor& states,
                                                        const torch::Tensor& attention_mask) {
  auto hidden_states = projector(states);
  for (const auto& layer : *tdnn) hidden_states = layer->as<TDNNLayer>()->forward(hidden_states);
  return feature_extractor(statistic_pooling(hidden_states, attention_mask));
}

XVectorOutput Wav2Vec2BertForXVectorImpl::forward(const torch::Tensor& input_features,
                                                  const torch::Tensor& attention_mask,
                                                  const torch::Tensor& labels,
                                                  const ForwardOptions& options) {
  auto input = head_input(wav2vec2_bert, layer_weights, input_features, attention_mask, options);
  XVectorOutput output;
  output.embeddings = embeddings_of(input.hidden_states, attention_mask);
  output.logits = classifier(output.embeddings);
  if (labels.defined()) {
    check_class_labels(labels, output.logits.size(0));
    check_label_range(labels, *label_range(config, "Wav2Vec2BertForXVector"));
    output.loss = objective(output.logits, labels);
  }
  output.hidden_states = std::move(input.base.hidden_states);
  output.attentions = std::move(input.base.attentions);
  return output;
}

torch::Tensor Wav2Vec2BertForXVectorImpl::statistic_pooling(
    const torch::Tensor& hidden_states, const torch::Tensor& attention_mask) const {
  if (!attention_mask.defined()) {
    return torch::cat({hidden_states.mean(1), hidden_states.std(1)}, -1);
  }
  const auto lengths = get_tdnn_output_lengths(
      config, get_feat_extract_output_lengths(config, attention_mask.sum(1)));
  const auto on_host = lengths.to(torch::kCPU, torch::kLong);
  std::vector<torch::Tensor> mean_features;
  std::vector<torch::Tensor> std_features;
  for (std::int64_t row = 0; row < hidden_states.size(0); ++row) {
    // HF: a negative length leaves out as many of the last frames, as Python's slices do.
    const auto frames = hidden_states[row].slice(0, 0, on_host[row].item<std::int64_t>());
    mean_features.push_back(frames.mean(0));
    std_features.push_back(frames.std(0));
  }
  return torch::cat({torch::stack(mean_features), torch::stack(std_features)}, -1);
}

void Wav2Vec2BertForXVectorImpl::freeze_base_model() { freeze(wav2vec2_bert); }

void Wav2Vec2BertForXVectorImpl::pretty_print(std::ostream& stream) const {
  stream << "w2vbert::Wav2Vec2BertForXVector(" << config.xvector_output_dim << " wide)";
}

}  // namespace w2vbert
