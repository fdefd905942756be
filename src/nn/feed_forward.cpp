#include "w2vbert/nn/feed_forward.h"

#include <torch/types.h>

#include "w2vbert/nn/check_inputs.h"
#include "w2vbert/nn/initialization.h"

namespace w2vbert {

Wav2Vec2BertFeedForwardImpl::Wav2Vec2BertFeedForwardImpl(Wav2Vec2BertConfig config)
    : config_(std::move(config)) {
  reset();
}

void Wav2Vec2BertFeedForwardImpl::reset() {
  intermediate_dropout =
      register_module("intermediate_dropout", torch::nn::Dropout(config_.activation_dropout));
  intermediate_dense = register_module("intermediate_dense",
                                       make_linear(config_.hidden_size, config_.intermediate_size));
  intermediate_act_fn = activation(config_.hidden_act, "hidden_act");
  output_dense = register_module("output_dense",
                                 make_linear(config_.intermediate_size, config_.hidden_size));
  output_dropout = register_module("output_dropout", torch::nn::Dropout(config_.hidden_dropout));
}

torch::Tensor Wav2Vec2BertFeedForwardImpl::forward(torch::Tensor hidden_states) {
  check_hidden_states(hidden_states, "hidden_states", config_.hidden_size,
                      intermediate_dense->weight);
  hidden_states = intermediate_dense(hidden_states);
  hidden_states = intermediate_act_fn(hidden_states);
  hidden_states = intermediate_dropout(hidden_states);

  hidden_states = output_dense(hidden_states);
  hidden_states = output_dropout(hidden_states);
  return hidden_states;
}

void Wav2Vec2BertFeedForwardImpl::pretty_print(std::ostream& stream) const {
  stream << "w2vbert::Wav2Vec2BertFeedForward(" << config_.hidden_size << " -> "
         << config_.intermediate_size << " -> " << config_.hidden_size << ", "
         << config_.hidden_act << ")";
}

}  // namespace w2vbert
