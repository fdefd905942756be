#include "w2vbert/nn/encoder.h"

#include <torch/types.h>

#include <utility>

#include "core/padding_mask.h"
#include "nn/check_config.h"
#include "nn/check_inputs.h"
#include "nn/gradient_checkpoint.h"
#include "nn/layer_drop.h"

namespace w2vbert {
namespace {

// An encoder may have no layers, as in a fused model (engine/fuse.h). Its parts look at the whole
// config all the same.
Wav2Vec2BertConfig with_a_layer(Wav2Vec2BertConfig config) {
  if (config.num_hidden_layers == 0) config.num_hidden_layers = 1;
  return config;
}

Wav2Vec2BertConfig checked_apart_from_layers(Wav2Vec2BertConfig config) {
  checked(with_a_layer(config));
  return config;
}

}  // namespace

Wav2Vec2BertEncoderImpl::Wav2Vec2BertEncoderImpl(Wav2Vec2BertConfig config)
    : config_(checked_apart_from_layers(std::move(config))) {
  reset();
}

void Wav2Vec2BertEncoderImpl::reset() {
  if (config_.position_embeddings_type == "relative") {
    embed_positions_relative = register_module(
        "embed_positions", Wav2Vec2BertRelPositionalEmbedding(with_a_layer(config_)));
  } else if (config_.position_embeddings_type == "rotary") {
    embed_positions_rotary = register_module(
        "embed_positions", Wav2Vec2BertRotaryPositionalEmbedding(with_a_layer(config_)));
  }
  dropout = register_module("dropout", torch::nn::Dropout(config_.hidden_dropout));
  layers = register_module("layers", torch::nn::ModuleList());
  for (std::int64_t i = 0; i < config_.num_hidden_layers; ++i) {
    layers->push_back(Wav2Vec2BertEncoderLayer(config_));
  }
}

Wav2Vec2BertEncoderImpl::Output Wav2Vec2BertEncoderImpl::forward(
    torch::Tensor hidden_states, const torch::Tensor& attention_mask,
    const ForwardOptions& options) {
  const auto layers_to_run = options.stop_after.value_or(config_.num_hidden_layers);
  TORCH_CHECK_VALUE(layers_to_run >= 0 && layers_to_run <= config_.num_hidden_layers,
                    "stop_after: ", layers_to_run, ", expected from 0 to ",
                    config_.num_hidden_layers);
  check_hidden_states(hidden_states, "hidden_states", config_.hidden_size,
                      layers->is_empty()
                          ? hidden_states
                          : layers[0]->as<Wav2Vec2BertEncoderLayer>()->final_layer_norm->weight);
  const auto valid = check_attention_mask(attention_mask, "attention_mask", hidden_states);

  const auto padded = padded_frames(valid);  // HF: made again in every layer
  hidden_states = zero_padded_frames(hidden_states, padded);
  const auto& positions = config_.position_embeddings_type;
  const bool position_bias = positions == "relative_key" || positions == "relative";
  const auto bidirectional = bidirectional_mask(
      valid, hidden_states, config_.attn_implementation == "sdpa", position_bias);
  hidden_states = dropout(hidden_states);
  const auto relative_position_embeddings = embed_positions(hidden_states);

  const bool output_hidden_states = options.output_hidden_states.value_or(false);
  const bool output_attentions = options.output_attentions.value_or(false);
  Output output;
  for (std::int64_t i = 0; i < layers_to_run; ++i) {
    const auto dropout_probability = draw_layerdrop(config_, is_training());
    const bool skip_the_layer =
        dropout_probability && *dropout_probability < static_cast<float>(config_.layerdrop);
    if (skip_the_layer) continue;
    if (output_hidden_states && output.hidden_states.empty()) {
      output.hidden_states.push_back(hidden_states);
    }
    const auto layer =
        run_layer(layers->ptr<Wav2Vec2BertEncoderLayerImpl>(static_cast<std::size_t>(i)),
                  hidden_states, bidirectional, relative_position_embeddings, padded);
    if (output_hidden_states) output.hidden_states.back() = layer.input;
    hidden_states = layer.hidden_states;
    if (output_hidden_states) output.hidden_states.push_back(hidden_states);
    if (output_attentions && layer.attn_weights.defined()) {
      output.attentions.push_back(layer.attn_weights);
    }
  }
  if (output_hidden_states && layers_to_run == 0) {
    output.hidden_states.push_back(hidden_states);
  }
  output.last_hidden_state = hidden_states;
  return output;
}

// HF: GradientCheckpointingLayer.
Wav2Vec2BertEncoderImpl::LayerRun Wav2Vec2BertEncoderImpl::run_layer(
    std::shared_ptr<Wav2Vec2BertEncoderLayerImpl> layer, const torch::Tensor& hidden_states,
    const torch::Tensor& attention_mask, const torch::Tensor& relative_position_embeddings,
    const torch::Tensor& padded) const {
  if (!gradient_checkpointing || !is_training()) {
    const auto output =
        layer->forward_checked(hidden_states, attention_mask, relative_position_embeddings, padded);
    return {hidden_states, output.hidden_states, output.attn_weights};
  }
  const auto parameters = layer->parameters();
  const auto run =
      [=, layer = std::move(layer)](const torch::Tensor& input) -> std::vector<torch::Tensor> {
    const auto output =
        layer->forward_checked(input, attention_mask, relative_position_embeddings, padded);
    return {input, output.hidden_states, output.attn_weights};
  };
  auto outputs = gradient_checkpoint(run, hidden_states, parameters);
  outputs.resize(3);  // sdpa gives no weights
  return {outputs[0], outputs[1], outputs[2]};
}

// Undefined for the types without an embedding: "relative_key" and null.
torch::Tensor Wav2Vec2BertEncoderImpl::embed_positions(const torch::Tensor& hidden_states) {
  if (!embed_positions_relative.is_empty()) return embed_positions_relative(hidden_states);
  if (!embed_positions_rotary.is_empty()) return embed_positions_rotary(hidden_states);
  return {};
}

namespace {

void set_gradient_checkpointing(torch::nn::Module& model, bool value) {
  model.apply([value](torch::nn::Module& module) {
    if (auto* encoder = module.as<Wav2Vec2BertEncoder>()) encoder->gradient_checkpointing = value;
  });
}

}  // namespace

void gradient_checkpointing_enable(torch::nn::Module& model) {
  set_gradient_checkpointing(model, true);
}
void gradient_checkpointing_disable(torch::nn::Module& model) {
  set_gradient_checkpointing(model, false);
}

void Wav2Vec2BertEncoderImpl::pretty_print(std::ostream& stream) const {
  stream << "w2vbert::Wav2Vec2BertEncoder(" << config_.num_hidden_layers << " layers of "
         << config_.hidden_size << ")";
}

}  // namespace w2vbert
