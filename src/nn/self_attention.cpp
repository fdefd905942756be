#include "w2vbert/nn/self_attention.h"

#include <torch/types.h>

#include <cmath>
#include <vector>

#include "core/padding_mask.h"
#include "nn/check_config.h"
#include "nn/check_inputs.h"
#include "nn/make_layers.h"
#include "w2vbert/core/error.h"

namespace w2vbert {

Wav2Vec2BertSelfAttentionImpl::Wav2Vec2BertSelfAttentionImpl(Wav2Vec2BertConfig config, Place place)
    : config_(checked(std::move(config))),
      position_embeddings_type_(place == Place::adapter ? std::nullopt
                                                        : config_.position_embeddings_type),
      hidden_size_(place == Place::adapter ? config_.adapter_size() : config_.hidden_size),
      head_size_(hidden_size_ / config_.num_attention_heads),
      scaling_(std::pow(static_cast<double>(head_size_), -0.5)) {
  if (hidden_size_ % config_.num_attention_heads != 0) {  // without add_adapter not yet checked
    throw ConfigError("config", "output_hidden_size", std::to_string(hidden_size_),
                      "a multiple of num_attention_heads = " +
                          std::to_string(config_.num_attention_heads) + " for the adapter");
  }
  reset();
}

void Wav2Vec2BertSelfAttentionImpl::reset() {
  const auto channels = hidden_size_;
  linear_q = register_module("linear_q", make_linear(channels, channels));
  linear_k = register_module("linear_k", make_linear(channels, channels));
  linear_v = register_module("linear_v", make_linear(channels, channels));
  linear_out = register_module("linear_out", make_linear(channels, channels));
  dropout = register_module("dropout", torch::nn::Dropout(config_.attention_dropout));
  if (position_embeddings_type_ == "relative") {
    linear_pos = register_module("linear_pos", make_linear(channels, channels, /*bias=*/false));
    const auto zeros = [&] { return torch::zeros({config_.num_attention_heads, head_size_}); };
    pos_bias_u = register_parameter("pos_bias_u", zeros());
    pos_bias_v = register_parameter("pos_bias_v", zeros());
  }
  if (position_embeddings_type_ == "relative_key") {
    const auto positions =
        config_.left_max_position_embeddings + config_.right_max_position_embeddings + 1;
    distance_embedding =
        register_module("distance_embedding", make_embedding(positions, head_size_));
  }
}

Wav2Vec2BertSelfAttentionImpl::Output Wav2Vec2BertSelfAttentionImpl::forward(
    const torch::Tensor& hidden_states, const torch::Tensor& attention_mask,
    const torch::Tensor& relative_position_embeddings) {
  check_hidden_states(hidden_states, "hidden_states", hidden_size_, linear_q->weight);
  check_bidirectional_mask(attention_mask, "attention_mask", hidden_states,
                           config_.attn_implementation == "sdpa");
  check_position_embeddings(relative_position_embeddings, hidden_states);
  const auto batch = hidden_states.size(0);
  const auto frames = hidden_states.size(1);
  const auto to_heads = [&](const torch::Tensor& projected) {  // (B, T, C) -> (B, H, T, D)
    return projected.view({batch, frames, -1, head_size_}).transpose(1, 2);
  };
  auto query_key_states = hidden_states;
  if (position_embeddings_type_ == "rotary") {
    query_key_states = apply_rotary_embedding(hidden_states, relative_position_embeddings);
  }
  auto query = to_heads(linear_q(query_key_states));
  const auto key = to_heads(linear_k(query_key_states));
  const auto value = to_heads(linear_v(hidden_states));

  torch::Tensor position_bias;
  if (position_embeddings_type_ == "relative") {
    position_bias = relative_position_bias(query, relative_position_embeddings);
    query = query + pos_bias_u.unsqueeze(0).unsqueeze(2);
  } else if (position_embeddings_type_ == "relative_key") {
    position_bias = relative_key_position_bias(query);
  }

  auto output = config_.attn_implementation == "eager"
                    ? eager_attention(query, key, value, attention_mask, position_bias)
                    : sdpa_attention(query, key, value, attention_mask, position_bias);
  output.attn_output =  // (B, H, T, D) -> (B, T, C)
      output.attn_output.transpose(1, 2).contiguous().reshape({batch, frames, -1});
  output.attn_output = linear_out(output.attn_output);
  return output;
}

void Wav2Vec2BertSelfAttentionImpl::check_position_embeddings(
    const torch::Tensor& embeddings, const torch::Tensor& hidden_states) const {
  const bool relative = position_embeddings_type_ == "relative";
  if (!relative && position_embeddings_type_ != "rotary") return;
  const auto frames = hidden_states.size(1);
  const std::vector<std::int64_t> shape =
      relative ? std::vector<std::int64_t>{1, 2 * frames - 1, hidden_size_}
               : std::vector<std::int64_t>{2, frames, 1, 1, head_size_};
  TORCH_CHECK_VALUE(embeddings.defined(), "relative_position_embeddings: undefined, expected ",
                    at::IntArrayRef(shape), " for position_embeddings_type ",
                    *position_embeddings_type_);
  check_dense(embeddings, "relative_position_embeddings");
  TORCH_CHECK_VALUE(embeddings.sizes() == at::IntArrayRef(shape) &&
                        embeddings.scalar_type() == hidden_states.scalar_type(),
                    "relative_position_embeddings: ", embeddings.scalar_type(), " ",
                    embeddings.sizes(), ", expected ", hidden_states.scalar_type(), " ",
                    at::IntArrayRef(shape));
  TORCH_CHECK_VALUE(embeddings.device() == hidden_states.device(),
                    "relative_position_embeddings: on ", embeddings.device(), ", expected ",
                    hidden_states.device());
}

// HF: _apply_rotary_embedding.
torch::Tensor Wav2Vec2BertSelfAttentionImpl::apply_rotary_embedding(
    torch::Tensor hidden_states, const torch::Tensor& relative_position_embeddings) const {
  const auto batch = hidden_states.size(0);
  const auto frames = hidden_states.size(1);
  hidden_states =  // (B, T, C) -> (T, B, H, D)
      hidden_states.reshape({batch, frames, config_.num_attention_heads, head_size_})
          .transpose(0, 1);
  const auto cos = relative_position_embeddings[0];
  const auto sin = relative_position_embeddings[1];
  const auto rotated_states_begin = hidden_states.slice(-1, 0, head_size_ / 2);
  const auto rotated_states_end = hidden_states.slice(-1, head_size_ / 2);
  const auto rotated_states = torch::cat({-rotated_states_end, rotated_states_begin}, -1);
  hidden_states = (hidden_states * cos) + (rotated_states * sin);
  return hidden_states.transpose(0, 1).reshape({batch, frames, hidden_size_});
}

// HF: _apply_relative_position_encoding, without its last step, which adds pos_bias_u to the query.
torch::Tensor Wav2Vec2BertSelfAttentionImpl::relative_position_bias(
    const torch::Tensor& query, const torch::Tensor& relative_position_embeddings) {
  const auto batch = query.size(0);
  const auto heads = query.size(1);
  const auto frames = query.size(2);
  const auto positions = relative_position_embeddings.size(1);  // 2T - 1
  const auto projected =                                        // (1, P, C) -> (1, H, D, P)
      linear_pos(relative_position_embeddings)
          .view({1, positions, -1, head_size_})
          .permute({0, 2, 3, 1});
  const auto q_with_bias_v = query + pos_bias_v.unsqueeze(0).unsqueeze(2);
  auto scores = torch::matmul(q_with_bias_v, projected);  // (B, H, T, P)
  // Row t is shifted by T - 1 - t, so that column k holds the distance t - k.
  scores = torch::constant_pad_nd(scores, {1, 0}).view({batch, heads, positions + 1, frames});
  scores = scores.slice(2, 1).view({batch, heads, frames, positions});
  scores = scores.slice(3, 0, frames);  // (B, H, T, P) -> (B, H, T, T)
  return scores * scaling_;
}

// HF: _apply_relative_key_position_encoding.
torch::Tensor Wav2Vec2BertSelfAttentionImpl::relative_key_position_bias(
    const torch::Tensor& query) {
  const auto left = config_.left_max_position_embeddings;
  const auto right = config_.right_max_position_embeddings;
  const auto index = torch::TensorOptions().dtype(torch::kLong).device(query.device());
  const auto positions = torch::arange(query.size(2), index);
  auto distance = positions.view({1, -1}) - positions.view({-1, 1});  // (T, T): key - query
  distance = torch::clamp(distance, -left, right);
  const auto embedding = distance_embedding(distance + left).to(query.scalar_type());  // (T, T, D)
  return torch::einsum("bhld,lrd->bhlr", {query, embedding}) * scaling_;
}

Wav2Vec2BertSelfAttentionImpl::Output Wav2Vec2BertSelfAttentionImpl::eager_attention(
    const torch::Tensor& query, const torch::Tensor& key, const torch::Tensor& value,
    const torch::Tensor& attention_mask, const torch::Tensor& position_bias) {
  auto weights = torch::matmul(query, key.transpose(2, 3)) * scaling_;  // (B, H, T, T)
  if (position_bias.defined()) weights = weights + position_bias;
  if (attention_mask.defined()) weights = weights + attention_mask;
  weights = torch::softmax(weights, -1);
  weights = dropout(weights);
  return {torch::matmul(weights, value), weights};
}

Wav2Vec2BertSelfAttentionImpl::Output Wav2Vec2BertSelfAttentionImpl::sdpa_attention(
    const torch::Tensor& query, const torch::Tensor& key, const torch::Tensor& value,
    const torch::Tensor& attention_mask, const torch::Tensor& position_bias) {
  std::optional<torch::Tensor> attn_mask;
  if (attention_mask.defined()) attn_mask = attention_mask;
  if (position_bias.defined()) {
    attn_mask = attention_mask.defined()
                    ? torch::where(attention_mask, position_bias, lowest_finite(key.scalar_type()))
                    : position_bias;
  }
  const double dropout_p = is_training() ? config_.attention_dropout : 0.0;
  return {torch::scaled_dot_product_attention(query, key, value, attn_mask, dropout_p,
                                              /*is_causal=*/false, scaling_),
          {}};
}

void Wav2Vec2BertSelfAttentionImpl::pretty_print(std::ostream& stream) const {
  stream << "w2vbert::Wav2Vec2BertSelfAttention(" << config_.num_attention_heads << " heads of "
         << head_size_ << ", ";
  if (position_embeddings_type_) stream << *position_embeddings_type_ << ", ";
  if (position_embeddings_type_ == "relative_key") {
    stream << "-" << config_.left_max_position_embeddings << ".."
           << config_.right_max_position_embeddings << ", ";
  }
  stream << config_.attn_implementation << ")";
}

}  // namespace w2vbert
