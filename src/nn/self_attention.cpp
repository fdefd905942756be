#include "w2vbert/nn/self_attention.h"

#include <torch/types.h>

#include <cmath>

#include "w2vbert/core/padding_mask.h"
#include "w2vbert/nn/check_inputs.h"
#include "w2vbert/nn/initialization.h"

namespace w2vbert {

Wav2Vec2BertSelfAttentionImpl::Wav2Vec2BertSelfAttentionImpl(Wav2Vec2BertConfig config)
    : config_(std::move(config)),
      scaling_(std::pow(static_cast<double>(config_.head_size()), -0.5)) {
  reset();
}

void Wav2Vec2BertSelfAttentionImpl::reset() {
  const auto channels = config_.hidden_size;
  linear_q = register_module("linear_q", make_linear(channels, channels));
  linear_k = register_module("linear_k", make_linear(channels, channels));
  linear_v = register_module("linear_v", make_linear(channels, channels));
  linear_out = register_module("linear_out", make_linear(channels, channels));
  dropout = register_module("dropout", torch::nn::Dropout(config_.attention_dropout));
  const auto positions =
      config_.left_max_position_embeddings + config_.right_max_position_embeddings + 1;
  distance_embedding =
      register_module("distance_embedding", make_embedding(positions, config_.head_size()));
}

Wav2Vec2BertSelfAttentionImpl::Output Wav2Vec2BertSelfAttentionImpl::forward(
    const torch::Tensor& hidden_states, const torch::Tensor& attention_mask) {
  check_hidden_states(hidden_states, "hidden_states", config_.hidden_size, linear_q->weight);
  check_bidirectional_mask(attention_mask, "attention_mask", hidden_states,
                           config_.attn_implementation == "sdpa");
  const auto batch = hidden_states.size(0);
  const auto frames = hidden_states.size(1);
  const auto to_heads = [&](const torch::Tensor& projected) {  // (B, T, C) -> (B, H, T, D)
    return projected.view({batch, frames, -1, config_.head_size()}).transpose(1, 2);
  };
  const auto query = to_heads(linear_q(hidden_states));
  const auto key = to_heads(linear_k(hidden_states));
  const auto value = to_heads(linear_v(hidden_states));
  const auto position_bias = relative_key_position_bias(query);

  auto output = config_.attn_implementation == "eager"
                    ? eager_attention(query, key, value, attention_mask, position_bias)
                    : sdpa_attention(query, key, value, attention_mask, position_bias);
  output.attn_output =  // (B, H, T, D) -> (B, T, C)
      output.attn_output.transpose(1, 2).contiguous().reshape({batch, frames, -1});
  output.attn_output = linear_out(output.attn_output);
  return output;
}

// HF: _apply_relative_key_position_encoding.
torch::Tensor Wav2Vec2BertSelfAttentionImpl::relative_key_position_bias(const torch::Tensor& query) {
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
  weights = weights + position_bias;
  if (attention_mask.defined()) weights = weights + attention_mask;
  weights = torch::softmax(weights, -1);
  weights = dropout(weights);
  return {torch::matmul(weights, value), weights};
}

Wav2Vec2BertSelfAttentionImpl::Output Wav2Vec2BertSelfAttentionImpl::sdpa_attention(
    const torch::Tensor& query, const torch::Tensor& key, const torch::Tensor& value,
    const torch::Tensor& attention_mask, const torch::Tensor& position_bias) {
  auto bias = position_bias;
  if (attention_mask.defined()) {
    bias = torch::where(attention_mask, position_bias, lowest_finite(key.scalar_type()));
  }
  const double dropout_p = is_training() ? config_.attention_dropout : 0.0;
  return {torch::scaled_dot_product_attention(query, key, value, bias, dropout_p,
                                              /*is_causal=*/false, scaling_),
          {}};
}

void Wav2Vec2BertSelfAttentionImpl::pretty_print(std::ostream& stream) const {
  stream << "w2vbert::Wav2Vec2BertSelfAttention(" << config_.num_attention_heads << " heads of "
         << config_.head_size() << ", relative_key -" << config_.left_max_position_embeddings
         << ".." << config_.right_max_position_embeddings << ", " << config_.attn_implementation
         << ")";
}

}  // namespace w2vbert
