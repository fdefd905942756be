// What the four heads share.
#pragma once

#include <torch/nn/module.h>

#include <optional>
#include <string>
#include <vector>

#include "nn/labels.h"
#include "w2vbert/models/wav2vec2_bert_model.h"

namespace w2vbert {

// HF's initialisation of a head: of everything but the base model, which has initialised itself.
void init_head(torch::nn::Module& head, const Wav2Vec2BertConfig& config);

// What HF's classification heads call layer_weights: (L + 1).
torch::Tensor make_layer_weights(const Wav2Vec2BertConfig& config);

// HF: a head without adapter support raises ValueError. Throws ConfigError.
void refuse_adapter(const Wav2Vec2BertConfig& config, const char* class_name);

// HF: freeze_base_model.
void freeze(Wav2Vec2BertModel& model);

// A head's logits are those of the last state. Throws c10::ValueError.
void refuse_stop_after(const ForwardOptions& options);

// The labels that the loss of a class takes (AnyModel::classes()), as HF's does; nothing for a
// class that takes any.
std::optional<LabelRange> label_range(const Wav2Vec2BertConfig& config,
                                      const std::string& class_name);

struct HeadInput {
  torch::Tensor hidden_states;  // (B, T, C)
  Wav2Vec2BertBaseModelOutput base;
};

// The states' mean, weighted with the softmax of `layer_weights` (L + 1): L + 1 of (B, T, C) -> (B,
// T, C).
torch::Tensor weighted_states(const torch::Tensor& layer_weights,
                              const std::vector<torch::Tensor>& states);

// Runs the base model. `layer_weights` defined: weighted_states(); else last_hidden_state.
HeadInput head_input(Wav2Vec2BertModel& model, const torch::Tensor& layer_weights,
                     const torch::Tensor& input_features, const torch::Tensor& attention_mask,
                     const ForwardOptions& options);

}  // namespace w2vbert
