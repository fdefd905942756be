#include "w2vbert/nn/encoder.h"

#include <ATen/CPUGeneratorImpl.h>
#include <torch/types.h>

#include <limits>
#include <mutex>

#include "w2vbert/core/padding_mask.h"
#include "w2vbert/nn/check_inputs.h"
#include "w2vbert/nn/initialization.h"

namespace w2vbert {
namespace {

// HF: torch.rand([]), once per layer and in evaluation too. The same draw from the same generator,
// without a tensor on the CPU.
float draw_uniform() {
  constexpr int kBits = std::numeric_limits<float>::digits;  // what at::uniform_ keeps of 32
  auto generator = at::detail::getDefaultCPUGenerator();
  const std::lock_guard<std::mutex> lock(generator.mutex());
  const auto bits = at::check_generator<at::CPUGeneratorImpl>(generator)->random();
  return static_cast<float>(bits & ((1U << kBits) - 1)) / static_cast<float>(1U << kBits);
}

}  // namespace

Wav2Vec2BertEncoderImpl::Wav2Vec2BertEncoderImpl(Wav2Vec2BertConfig config)
    : config_(std::move(config)) {
  reset();
}

void Wav2Vec2BertEncoderImpl::reset() {
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
  check_hidden_states(hidden_states, "hidden_states", config_.hidden_size, parameters().front());
  check_attention_mask(attention_mask, "attention_mask", hidden_states);

  hidden_states = zero_padded_frames(hidden_states, attention_mask);
  const auto bidirectional =
      bidirectional_mask(attention_mask, hidden_states, config_.attn_implementation == "sdpa");
  hidden_states = dropout(hidden_states);

  Output output;
  for (std::int64_t i = 0; i < layers_to_run; ++i) {
    const bool skip_the_layer = draw_uniform() < config_.layerdrop && is_training();
    if (skip_the_layer) continue;
    if (options.output_hidden_states && output.hidden_states.empty()) {
      output.hidden_states.push_back(hidden_states);
    }
    const auto layer = layers[static_cast<std::size_t>(i)]->as<Wav2Vec2BertEncoderLayer>()->forward(
        hidden_states, bidirectional, attention_mask);
    hidden_states = layer.hidden_states;
    if (options.output_hidden_states) output.hidden_states.push_back(hidden_states);
    if (options.output_attentions && layer.attn_weights.defined()) {
      output.attentions.push_back(layer.attn_weights);
    }
  }
  if (options.output_hidden_states && layers_to_run == 0) {
    output.hidden_states.push_back(hidden_states);
  }
  output.last_hidden_state = hidden_states;
  return output;
}

void Wav2Vec2BertEncoderImpl::pretty_print(std::ostream& stream) const {
  stream << "w2vbert::Wav2Vec2BertEncoder(" << config_.num_hidden_layers << " layers of "
         << config_.hidden_size << ")";
}

}  // namespace w2vbert
