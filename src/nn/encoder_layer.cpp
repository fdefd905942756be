#include "w2vbert/nn/encoder_layer.h"

#include <torch/types.h>

#include <utility>

#include "core/padding_mask.h"
#include "nn/check_config.h"
#include "nn/check_inputs.h"
#include "nn/make_layers.h"

namespace w2vbert {

Wav2Vec2BertEncoderLayerImpl::Wav2Vec2BertEncoderLayerImpl(Wav2Vec2BertConfig config)
    : config_(checked(std::move(config))) {
  reset();
}

void Wav2Vec2BertEncoderLayerImpl::reset() {
  const auto channels = config_.hidden_size;
  ffn1_layer_norm = register_module("ffn1_layer_norm", make_layer_norm(channels, config_));
  ffn1 = register_module("ffn1", Wav2Vec2BertFeedForward(config_));
  self_attn_layer_norm =
      register_module("self_attn_layer_norm", make_layer_norm(channels, config_));
  self_attn_dropout =
      register_module("self_attn_dropout", torch::nn::Dropout(config_.attention_dropout));
  self_attn = register_module("self_attn", Wav2Vec2BertSelfAttention(config_));
  conv_module = register_module("conv_module", Wav2Vec2BertConvolutionModule(config_));
  ffn2_layer_norm = register_module("ffn2_layer_norm", make_layer_norm(channels, config_));
  ffn2 = register_module("ffn2", Wav2Vec2BertFeedForward(config_));
  final_layer_norm = register_module("final_layer_norm", make_layer_norm(channels, config_));
}

Wav2Vec2BertEncoderLayerImpl::Output Wav2Vec2BertEncoderLayerImpl::forward(
    torch::Tensor hidden_states, const torch::Tensor& attention_mask,
    const torch::Tensor& relative_position_embeddings, const torch::Tensor& conv_attention_mask) {
  check_hidden_states(hidden_states, "hidden_states", config_.hidden_size,
                      final_layer_norm->weight);
  const auto valid =
      check_attention_mask(conv_attention_mask, "conv_attention_mask", hidden_states);
  return forward_checked(std::move(hidden_states), attention_mask, relative_position_embeddings,
                         padded_frames(valid));
}

Wav2Vec2BertEncoderLayerImpl::Output Wav2Vec2BertEncoderLayerImpl::forward_checked(
    torch::Tensor hidden_states, const torch::Tensor& attention_mask,
    const torch::Tensor& relative_position_embeddings, const torch::Tensor& padded) {
  // 1. Feed-forward 1
  auto residual = hidden_states;
  hidden_states = ffn1_layer_norm(hidden_states);
  hidden_states = ffn1(hidden_states);
  hidden_states = hidden_states * 0.5 + residual;

  // 2. Self-attention
  residual = hidden_states;
  hidden_states = self_attn_layer_norm(hidden_states);
  const auto attention = self_attn(hidden_states, attention_mask, relative_position_embeddings);
  hidden_states = self_attn_dropout(attention.attn_output);
  hidden_states = hidden_states + residual;

  // 3. Convolution
  residual = hidden_states;
  hidden_states = conv_module->forward_checked(hidden_states, padded);
  hidden_states = residual + hidden_states;

  // 4. Feed-forward 2
  residual = hidden_states;
  hidden_states = ffn2_layer_norm(hidden_states);
  hidden_states = ffn2(hidden_states);
  hidden_states = hidden_states * 0.5 + residual;
  hidden_states = final_layer_norm(hidden_states);
  return {hidden_states, attention.attn_weights};
}

void Wav2Vec2BertEncoderLayerImpl::pretty_print(std::ostream& stream) const {
  stream << "w2vbert::Wav2Vec2BertEncoderLayer(" << config_.hidden_size << ")";
}

}  // namespace w2vbert
