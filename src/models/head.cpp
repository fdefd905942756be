#include "models/head.h"

#include <torch/types.h>
#include <torch/utils.h>

#include "w2vbert/core/error.h"
#include "w2vbert/nn/initialization.h"

namespace w2vbert {

void init_head(torch::nn::Module& head, const Wav2Vec2BertConfig& config) {
  if (SkipInitialization::active()) return;
  for (const auto& child : head.children()) {
    if (child->as<Wav2Vec2BertModelImpl>() == nullptr) init_weights(*child, config);
  }
}

torch::Tensor make_layer_weights(const Wav2Vec2BertConfig& config) {
  const auto states = config.num_hidden_layers + 1;
  return torch::full({states}, 1.0 / static_cast<double>(states));
}

void refuse_adapter(const Wav2Vec2BertConfig& config, const char* class_name) {
  if (!config.add_adapter) return;
  throw ConfigError("config", "add_adapter", std::string("true is not supported by ") + class_name,
                    "false");
}

void freeze(Wav2Vec2BertModel& model) {
  for (auto& parameter : model->parameters()) parameter.set_requires_grad(false);
}

void refuse_stop_after(const ForwardOptions& options) {
  TORCH_CHECK_VALUE(!options.stop_after, "stop_after: ", *options.stop_after,
                    " is not supported by a head, whose logits are those of the last state, "
                    "expected no stop_after");
}

std::optional<LabelRange> label_range(const Wav2Vec2BertConfig& config,
                                      const std::string& class_name) {
  if (class_name == "Wav2Vec2BertForCTC") {
    if (!config.vocab_size) return {};
    LabelRange range{.key = "vocab_size", .count = *config.vocab_size};
    // HF masks -100 and the blank since 5.21; other numbers below 0 are then targets, for which
    // torch reads outside the logits.
    range.negative_is_padding = config.hf_version < HfVersion::v5_21;
    if (!range.negative_is_padding) range.ignored = kIgnoredLabel;
    return range;
  }
  LabelRange range{.key = "num_labels", .count = config.num_labels};
  if (class_name == "Wav2Vec2BertForXVector") return range;
  if (class_name != "Wav2Vec2BertForSequenceClassification") return {};
  range.ignored = kIgnoredLabel;
  return range;
}

torch::Tensor weighted_states(const torch::Tensor& layer_weights,
                              const std::vector<torch::Tensor>& states) {
  const auto norm_weights = torch::softmax(layer_weights, -1);
  // (B, L + 1, T, C) -> (B, T, C)
  return (torch::stack(states, 1) * norm_weights.view({-1, 1, 1})).sum(1);
}

HeadInput head_input(Wav2Vec2BertModel& model, const torch::Tensor& layer_weights,
                     const torch::Tensor& input_features, const torch::Tensor& attention_mask,
                     const ForwardOptions& options) {
  refuse_stop_after(options);
  HeadInput result;
  if (!layer_weights.defined()) {
    result.base = model(input_features, attention_mask, torch::Tensor(), options);
    result.hidden_states = result.base.last_hidden_state;
    return result;
  }
  ForwardOptions with_states = options;
  with_states.output_hidden_states = true;
  result.base = model(input_features, attention_mask, torch::Tensor(), with_states);
  const auto& states = *result.base.hidden_states;
  TORCH_CHECK_VALUE(static_cast<std::int64_t>(states.size()) == layer_weights.size(0),
                    "use_weighted_layer_sum: true with ", states.size(), " states, expected ",
                    layer_weights.size(0),
                    " (layers were dropped: layerdrop = ", model->config.layerdrop,
                    " has to be 0 for training, as in HF)");
  result.hidden_states = weighted_states(layer_weights, states);
  if (!options.output_hidden_states.value_or(model->config.output_hidden_states)) {
    result.base.hidden_states.reset();
  }
  return result;
}

}  // namespace w2vbert
