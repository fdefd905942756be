#include "w2vbert/models/wav2vec2_bert_model.h"

#include <torch/types.h>

#include <mutex>
#include <random>
#include <vector>

#include "models/model_size.h"
#include "nn/check_inputs.h"
#include "nn/spec_augment.h"
#include "w2vbert/nn/initialization.h"

namespace w2vbert {
namespace {

NumpyRandom& process_random() {
  static NumpyRandom random(std::random_device{}());
  return random;
}

// HF has one generator for the process; drawing from it here is safe from any thread.
torch::Tensor draw_mask(std::int64_t batch, std::int64_t length, const SpecAugmentAxis& axis,
                        const torch::Tensor& attention_mask, NumpyRandom* random) {
  if (random != nullptr) return compute_mask_indices(batch, length, axis, attention_mask, *random);
  static std::mutex mutex;
  const std::lock_guard<std::mutex> lock(mutex);
  return compute_mask_indices(batch, length, axis, attention_mask, process_random());
}

// HF: capture_outputs (utils/output_capturing.py), which since 5.23 leaves the states alone where
// every layer was dropped.
void tie_last_state(std::vector<torch::Tensor>& hidden_states,
                    const torch::Tensor& last_hidden_state, const Wav2Vec2BertConfig& config) {
  if (!config.ties_last_hidden_state()) return;
  if (!hidden_states.empty()) {
    hidden_states.back() = last_hidden_state;
  } else if (config.hf_version < HfVersion::v5_23) {
    hidden_states.push_back(last_hidden_state);
  }
}

}  // namespace

Wav2Vec2BertModelImpl::Wav2Vec2BertModelImpl(Wav2Vec2BertConfig model_config)
    : config(std::move(model_config)) {
  refuse_too_large(config);
  reset();
}

void Wav2Vec2BertModelImpl::reset() {
  feature_projection = register_module("feature_projection", Wav2Vec2BertFeatureProjection(config));
  if (config.mask_time_prob > 0.0 || config.mask_feature_prob > 0.0) {
    auto values = torch::empty({config.hidden_size});
    if (!SkipInitialization::active()) values.uniform_();
    masked_spec_embed = register_parameter("masked_spec_embed", values);
  }
  encoder = register_module("encoder", Wav2Vec2BertEncoder(config));
  if (config.add_adapter) adapter = register_module("adapter", Wav2Vec2BertAdapter(config));
  if (config.use_intermediate_ffn_before_adapter) {
    intermediate_ffn = register_module("intermediate_ffn", Wav2Vec2BertFeedForward(config, "relu"));
  }
  if (!SkipInitialization::active()) init_weights(*this, config);
}

Wav2Vec2BertBaseModelOutput Wav2Vec2BertModelImpl::forward(const torch::Tensor& input_features,
                                                           const torch::Tensor& attention_mask,
                                                           const torch::Tensor& mask_time_indices,
                                                           const ForwardOptions& options) {
  ForwardOptions wanted = options;
  wanted.output_hidden_states = options.output_hidden_states.value_or(config.output_hidden_states);
  wanted.output_attentions = options.output_attentions.value_or(config.output_attentions);
  auto projected = feature_projection(input_features);
  // Checked once: what follows takes booleans as they are.
  const auto valid = check_attention_mask(attention_mask, "attention_mask", input_features);
  auto hidden_states = mask_hidden_states(projected.hidden_states, mask_time_indices,
                                          attention_mask, options.spec_augment_random);
  auto encoded = encoder(hidden_states, valid, wanted);
  hidden_states = encoded.last_hidden_state;
  if (!options.stop_after) hidden_states = after_encoder(hidden_states, valid);

  Wav2Vec2BertBaseModelOutput output;
  output.last_hidden_state = hidden_states;
  output.extract_features = projected.norm_hidden_states;
  if (*wanted.output_hidden_states) {
    output.hidden_states = std::move(encoded.hidden_states);
    if (!options.stop_after) tie_last_state(*output.hidden_states, hidden_states, config);
  }
  if (*wanted.output_attentions) output.attentions = std::move(encoded.attentions);
  return output;
}

torch::Tensor Wav2Vec2BertModelImpl::after_encoder(torch::Tensor hidden_states,
                                                   const torch::Tensor& attention_mask) {
  if (!intermediate_ffn.is_empty()) {
    hidden_states = hidden_states + intermediate_ffn(hidden_states) * 0.5;
  }
  if (!adapter.is_empty()) hidden_states = adapter(hidden_states, attention_mask);
  return hidden_states;
}

// HF: _mask_hidden_states, which writes into the tensor instead.
torch::Tensor Wav2Vec2BertModelImpl::mask_hidden_states(torch::Tensor hidden_states,
                                                        const torch::Tensor& mask_time_indices,
                                                        const torch::Tensor& attention_mask,
                                                        NumpyRandom* random) {
  if (!config.apply_spec_augment) return hidden_states;
  const auto batch = hidden_states.size(0);
  const auto mask_time = [&](const torch::Tensor& indices) {  // (B, T)
    // Not torch::where: masked_spec_embed's gradient is a sum, over the marked frames only, as in
    // HF.
    return hidden_states.index_put({indices}, masked_spec_embed.to(hidden_states.scalar_type()));
  };
  if (mask_time_indices.defined()) {
    check_attention_mask(mask_time_indices, "mask_time_indices", hidden_states);
    TORCH_CHECK_VALUE(mask_time_indices.scalar_type() == torch::kBool,
                      "mask_time_indices: ", mask_time_indices.scalar_type(), ", expected Bool");
    TORCH_CHECK_VALUE(masked_spec_embed.defined(),
                      "mask_time_indices: the model has no masked_spec_embed, as mask_time_prob = ",
                      config.mask_time_prob, " and mask_feature_prob = ", config.mask_feature_prob,
                      " in its config, expected one of them above 0");
    hidden_states = mask_time(mask_time_indices);
  } else if (config.mask_time_prob > 0.0 && is_training()) {
    const SpecAugmentAxis axis{config.mask_time_prob, config.mask_time_length,
                               config.mask_time_min_masks, "mask_time_length"};
    hidden_states = mask_time(draw_mask(batch, hidden_states.size(1), axis, attention_mask, random)
                                  .to(hidden_states.device()));
  }
  if (config.mask_feature_prob > 0.0 && is_training()) {
    const SpecAugmentAxis axis{config.mask_feature_prob, config.mask_feature_length,
                               config.mask_feature_min_masks, "mask_feature_length"};
    const auto indices =
        draw_mask(batch, config.hidden_size, axis, {}, random).to(hidden_states.device());
    hidden_states = hidden_states.masked_fill(indices.unsqueeze(1), 0.0);  // (B, 1, C)
  }
  return hidden_states;
}

void Wav2Vec2BertModelImpl::pretty_print(std::ostream& stream) const {
  stream << "w2vbert::Wav2Vec2BertModel(" << config.num_hidden_layers << " layers, "
         << config.hidden_size << " wide)";
}

}  // namespace w2vbert
