#include "w2vbert/nn/feature_projection.h"

#include <torch/types.h>

#include "nn/check_config.h"
#include "nn/check_inputs.h"
#include "nn/make_layers.h"

namespace w2vbert {

Wav2Vec2BertFeatureProjectionImpl::Wav2Vec2BertFeatureProjectionImpl(Wav2Vec2BertConfig config)
    : config_(checked(std::move(config))) {
  reset();
}

void Wav2Vec2BertFeatureProjectionImpl::reset() {
  const auto input_dim = config_.feature_projection_input_dim;
  layer_norm = register_module("layer_norm", make_layer_norm(input_dim, config_));
  projection = register_module("projection", make_linear(input_dim, config_.hidden_size));
  dropout = register_module("dropout", torch::nn::Dropout(config_.feat_proj_dropout));
}

Wav2Vec2BertFeatureProjectionImpl::Output Wav2Vec2BertFeatureProjectionImpl::forward(
    torch::Tensor hidden_states) {
  check_hidden_states(hidden_states, "input_features", config_.feature_projection_input_dim,
                      projection->weight);
  const auto norm_hidden_states = layer_norm(hidden_states);
  hidden_states = projection(norm_hidden_states);  // (B, T, F) -> (B, T, C)
  hidden_states = dropout(hidden_states);
  return {hidden_states, norm_hidden_states};
}

void Wav2Vec2BertFeatureProjectionImpl::pretty_print(std::ostream& stream) const {
  stream << "w2vbert::Wav2Vec2BertFeatureProjection(" << config_.feature_projection_input_dim
         << " -> " << config_.hidden_size << ")";
}

}  // namespace w2vbert
