#include "w2vbert/models/wav2vec2_bert_model.h"

#include <torch/types.h>

#include "w2vbert/core/error.h"
#include "w2vbert/nn/check_inputs.h"
#include "w2vbert/nn/initialization.h"

namespace w2vbert {
namespace {

// The one place that says what of HF's Wav2Vec2BertModel is not here yet.
void check_supported(const Wav2Vec2BertConfig& config) {
  if (config.position_embeddings_type != "relative_key") {
    throw ConfigError("config", "position_embeddings_type",
                      config.position_embeddings_type.value_or("null") + " is not supported",
                      "\"relative_key\"");
  }
  if (config.add_adapter) {
    throw ConfigError("config", "add_adapter", "true is not supported", "false");
  }
}

}  // namespace

Wav2Vec2BertModelImpl::Wav2Vec2BertModelImpl(Wav2Vec2BertConfig model_config)
    : config(std::move(model_config)) {
  config.validate();
  check_supported(config);
  reset();
}

void Wav2Vec2BertModelImpl::reset() {
  feature_projection =
      register_module("feature_projection", Wav2Vec2BertFeatureProjection(config));
  if (config.mask_time_prob > 0.0 || config.mask_feature_prob > 0.0) {
    auto values = torch::empty({config.hidden_size});
    if (!SkipInitialization::active()) values.uniform_();
    masked_spec_embed = register_parameter("masked_spec_embed", values);
  }
  encoder = register_module("encoder", Wav2Vec2BertEncoder(config));
  if (!SkipInitialization::active()) init_weights(*this, config);
}

Wav2Vec2BertBaseModelOutput Wav2Vec2BertModelImpl::forward(const torch::Tensor& input_features,
                                                           const torch::Tensor& attention_mask,
                                                           const torch::Tensor& mask_time_indices,
                                                           const ForwardOptions& options) {
  auto projected = feature_projection(input_features);
  check_attention_mask(attention_mask, "attention_mask", input_features);
  const auto hidden_states = mask_hidden_states(projected.hidden_states, mask_time_indices);
  auto encoded = encoder(hidden_states, attention_mask, options);

  Wav2Vec2BertBaseModelOutput output;
  output.last_hidden_state = encoded.last_hidden_state;
  output.extract_features = projected.norm_hidden_states;
  if (options.output_hidden_states) output.hidden_states = std::move(encoded.hidden_states);
  if (options.output_attentions) output.attentions = std::move(encoded.attentions);
  return output;
}

// HF: _mask_hidden_states.
torch::Tensor Wav2Vec2BertModelImpl::mask_hidden_states(const torch::Tensor& hidden_states,
                                                        const torch::Tensor& mask_time_indices) {
  if (!config.apply_spec_augment) return hidden_states;
  if (mask_time_indices.defined()) {
    check_attention_mask(mask_time_indices, "mask_time_indices", hidden_states);
    TORCH_CHECK_VALUE(mask_time_indices.scalar_type() == torch::kBool,
                      "mask_time_indices: ", mask_time_indices.scalar_type(), ", expected Bool");
    TORCH_CHECK_VALUE(masked_spec_embed.defined(),
                      "mask_time_indices: the model has no masked_spec_embed, expected "
                      "mask_time_prob or mask_feature_prob above 0 in its config");
    return torch::where(mask_time_indices.unsqueeze(-1),
                        masked_spec_embed.to(hidden_states.scalar_type()), hidden_states);
  }
  if (is_training() && (config.mask_time_prob > 0.0 || config.mask_feature_prob > 0.0)) {
    throw ConfigError("config", "apply_spec_augment",
                      "true in training mode, where the masks would be drawn, is not supported",
                      "false, or mask_time_indices given to forward");
  }
  return hidden_states;
}

void Wav2Vec2BertModelImpl::pretty_print(std::ostream& stream) const {
  stream << "w2vbert::Wav2Vec2BertModel(" << config.num_hidden_layers << " layers, "
         << config.hidden_size << " wide)";
}

}  // namespace w2vbert
