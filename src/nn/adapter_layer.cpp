#include "w2vbert/nn/adapter_layer.h"

#include <torch/types.h>

#include "core/padding_mask.h"
#include "nn/check_config.h"
#include "nn/check_inputs.h"
#include "nn/make_layers.h"

namespace w2vbert {
namespace {

// HF: _compute_new_attention_mask. (B, T) bool, true for the first `seq_lens` frames of each row.
torch::Tensor compute_new_attention_mask(const torch::Tensor& hidden_states,
                                         const torch::Tensor& seq_lens) {
  const auto options = torch::TensorOptions().dtype(torch::kLong).device(seq_lens.device());
  return torch::arange(hidden_states.size(1), options).unsqueeze(0).lt(seq_lens.unsqueeze(1));
}

void check_lengths(const torch::Tensor& lengths, const torch::Tensor& hidden_states) {
  if (!lengths.defined()) return;
  check_dense(lengths, "sub_sampled_lengths");
  TORCH_CHECK_VALUE(lengths.dim() == 1 && lengths.size(0) == hidden_states.size(0) &&
                        !lengths.is_complex() && lengths.scalar_type() != torch::kBool,
                    "sub_sampled_lengths: ", lengths.scalar_type(), " ", lengths.sizes(),
                    ", expected numbers (", hidden_states.size(0), ")");
  TORCH_CHECK_VALUE(lengths.device() == hidden_states.device(), "sub_sampled_lengths: on ",
                    lengths.device(), ", expected ", hidden_states.device());
}

}  // namespace

Wav2Vec2BertAdapterLayerImpl::Wav2Vec2BertAdapterLayerImpl(Wav2Vec2BertConfig config)
    : config_(checked(std::move(config))) {
  reset();
}

void Wav2Vec2BertAdapterLayerImpl::reset() {
  const auto width = config_.adapter_size();
  const auto make_conv = [&] {
    return make_conv1d(torch::nn::Conv1dOptions(width, 2 * width, config_.adapter_kernel_size)
                           .stride(config_.adapter_stride)
                           .padding(config_.adapter_stride / 2));
  };
  residual_layer_norm = register_module("residual_layer_norm", make_layer_norm(width, config_));
  residual_conv = register_module("residual_conv", make_conv());
  activation = register_module("activation", torch::nn::GLU(torch::nn::GLUOptions(1)));
  self_attn_layer_norm = register_module("self_attn_layer_norm", make_layer_norm(width, config_));
  self_attn_conv = register_module("self_attn_conv", make_conv());
  self_attn = register_module(
      "self_attn",
      Wav2Vec2BertSelfAttention(config_, Wav2Vec2BertSelfAttentionImpl::Place::adapter));
  self_attn_dropout =
      register_module("self_attn_dropout", torch::nn::Dropout(config_.conformer_conv_dropout));
  ffn_layer_norm = register_module("ffn_layer_norm", make_layer_norm(width, config_));
  ffn = register_module("ffn", Wav2Vec2BertFeedForward(config_, config_.adapter_act, width));
}

torch::Tensor Wav2Vec2BertAdapterLayerImpl::forward(torch::Tensor hidden_states,
                                                    const torch::Tensor& sub_sampled_lengths) {
  check_hidden_states(hidden_states, "hidden_states", config_.adapter_size(),
                      residual_conv->weight);
  check_lengths(sub_sampled_lengths, hidden_states);
  check_adapter_frames(hidden_states.size(1), config_);

  auto residual = residual_layer_norm(hidden_states);
  residual = residual.transpose(1, 2);  // (B, T, E) -> (B, E, T)
  residual = residual_conv(residual);   // (B, E, T) -> (B, 2E, T')
  residual = activation(residual);      // (B, 2E, T') -> (B, E, T')
  residual = residual.transpose(1, 2);  // (B, E, T') -> (B, T', E)

  hidden_states = self_attn_layer_norm(hidden_states);
  hidden_states = hidden_states.transpose(1, 2);  // (B, T, E) -> (B, E, T)
  hidden_states = self_attn_conv(hidden_states);  // (B, E, T) -> (B, 2E, T')
  hidden_states = activation(hidden_states);      // (B, 2E, T') -> (B, E, T')
  // HF: stays a view, which the projections of the attention multiply in another order.
  hidden_states = hidden_states.transpose(1, 2);  // (B, E, T') -> (B, T', E)

  torch::Tensor attention_mask;
  if (sub_sampled_lengths.defined()) {
    attention_mask = bidirectional_mask(
        compute_new_attention_mask(hidden_states, sub_sampled_lengths), hidden_states,
        config_.attn_implementation == "sdpa", /*position_bias=*/false);
  }
  hidden_states = self_attn(hidden_states, attention_mask).attn_output;
  hidden_states = self_attn_dropout(hidden_states);
  hidden_states = hidden_states + residual;

  residual = hidden_states;
  hidden_states = ffn_layer_norm(hidden_states);
  hidden_states = ffn(hidden_states) + residual;
  return hidden_states;
}

void Wav2Vec2BertAdapterLayerImpl::pretty_print(std::ostream& stream) const {
  stream << "w2vbert::Wav2Vec2BertAdapterLayer(" << config_.adapter_size()
         << ", kernel_size=" << config_.adapter_kernel_size << ", stride=" << config_.adapter_stride
         << ")";
}

}  // namespace w2vbert
