#include "w2vbert/nn/feed_forward.h"

#include <torch/types.h>

#include "nn/check_config.h"
#include "nn/check_inputs.h"
#include "nn/make_layers.h"

namespace w2vbert {

Wav2Vec2BertFeedForwardImpl::Wav2Vec2BertFeedForwardImpl(Wav2Vec2BertConfig config,
                                                         std::optional<std::string> act_fn,
                                                         std::optional<std::int64_t> hidden_size)
    : config_(checked(std::move(config))),
      act_fn_(std::move(act_fn)),
      hidden_size_(hidden_size.value_or(config_.hidden_size)) {
  reset();
}

void Wav2Vec2BertFeedForwardImpl::reset() {
  intermediate_dropout =
      register_module("intermediate_dropout", torch::nn::Dropout(config_.activation_dropout));
  intermediate_dense =
      register_module("intermediate_dense", make_linear(hidden_size_, config_.intermediate_size));
  intermediate_act_fn = register_module(
      "intermediate_act_fn",
      act_fn_ ? Activation(*act_fn_, "adapter_act") : Activation(config_.hidden_act, "hidden_act"));
  output_dense =
      register_module("output_dense", make_linear(config_.intermediate_size, hidden_size_));
  output_dropout = register_module("output_dropout", torch::nn::Dropout(config_.hidden_dropout));
}

torch::Tensor Wav2Vec2BertFeedForwardImpl::forward(torch::Tensor hidden_states) {
  check_hidden_states(hidden_states, "hidden_states", hidden_size_, intermediate_dense->weight);
  hidden_states = intermediate_dense(hidden_states);
  hidden_states = intermediate_act_fn(hidden_states);
  hidden_states = intermediate_dropout(hidden_states);

  hidden_states = output_dense(hidden_states);
  hidden_states = output_dropout(hidden_states);
  return hidden_states;
}

void Wav2Vec2BertFeedForwardImpl::pretty_print(std::ostream& stream) const {
  stream << "w2vbert::Wav2Vec2BertFeedForward(" << hidden_size_ << " -> "
         << config_.intermediate_size << " -> " << hidden_size_ << ", "
         << act_fn_.value_or(config_.hidden_act) << ")";
}

}  // namespace w2vbert
