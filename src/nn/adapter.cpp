#include "w2vbert/nn/adapter.h"

#include <torch/types.h>

#include "nn/check_config.h"
#include "nn/check_inputs.h"
#include "nn/layer_drop.h"
#include "nn/make_layers.h"

namespace w2vbert {

Wav2Vec2BertAdapterImpl::Wav2Vec2BertAdapterImpl(Wav2Vec2BertConfig config)
    : config_(checked(std::move(config))) {
  reset();
}

void Wav2Vec2BertAdapterImpl::reset() {
  const auto width = config_.adapter_size();
  if (width != config_.hidden_size) {
    proj = register_module("proj", make_linear(config_.hidden_size, width));
    proj_layer_norm = register_module("proj_layer_norm", make_layer_norm(width, config_));
  }
  layers = register_module("layers", torch::nn::ModuleList());
  for (std::int64_t i = 0; i < config_.num_adapter_layers; ++i) {
    layers->push_back(Wav2Vec2BertAdapterLayer(config_));
  }
}

// HF: _compute_sub_sample_lengths_from_attention_mask.
torch::Tensor Wav2Vec2BertAdapterImpl::sub_sample_lengths(const torch::Tensor& seq_lens) const {
  const auto pad = config_.adapter_kernel_size / 2;
  return ((seq_lens + 2 * pad - config_.adapter_kernel_size) / config_.adapter_stride + 1).floor();
}

torch::Tensor Wav2Vec2BertAdapterImpl::forward(torch::Tensor hidden_states,
                                               const torch::Tensor& attention_mask) {
  auto parameter = hidden_states;  // for an adapter without any
  if (!layers->is_empty()) {
    parameter = layers[0]->as<Wav2Vec2BertAdapterLayer>()->residual_conv->weight;
  }
  if (!proj.is_empty()) parameter = proj->weight;
  check_hidden_states(hidden_states, "hidden_states", config_.hidden_size, parameter);
  check_attention_mask(attention_mask, "attention_mask", hidden_states);
  if (!proj.is_empty()) {
    hidden_states = proj(hidden_states);  // (B, T, C) -> (B, T, E)
    hidden_states = proj_layer_norm(hidden_states);
  }
  torch::Tensor sub_sampled_lengths;
  if (attention_mask.defined()) {
    sub_sampled_lengths =
        attention_mask.size(1) - torch::rsub(attention_mask.to(torch::kInt), 1).sum(1);
  }
  for (const auto& layer : *layers) {
    const auto layerdrop_prob = draw_layerdrop(config_, is_training());
    // HF: also of a layer that is skipped.
    if (attention_mask.defined()) sub_sampled_lengths = sub_sample_lengths(sub_sampled_lengths);
    const bool to_drop = layerdrop_prob && *layerdrop_prob <= static_cast<float>(config_.layerdrop);
    if (!to_drop) {
      hidden_states =
          layer->as<Wav2Vec2BertAdapterLayer>()->forward(hidden_states, sub_sampled_lengths);
    }
  }
  return hidden_states;
}

void Wav2Vec2BertAdapterImpl::pretty_print(std::ostream& stream) const {
  stream << "w2vbert::Wav2Vec2BertAdapter(" << config_.num_adapter_layers << " layers of "
         << config_.adapter_size() << ")";
}

}  // namespace w2vbert
