#include "w2vbert/nn/convolution_module.h"

#include <torch/types.h>

#include <utility>

#include "core/padding_mask.h"
#include "nn/check_config.h"
#include "nn/check_inputs.h"
#include "nn/make_layers.h"

namespace w2vbert {

Wav2Vec2BertConvolutionModuleImpl::Wav2Vec2BertConvolutionModuleImpl(Wav2Vec2BertConfig config)
    : config_(checked(std::move(config))) {
  reset();
}

void Wav2Vec2BertConvolutionModuleImpl::reset() {
  using Options = torch::nn::Conv1dOptions;
  const auto channels = config_.hidden_size;
  const auto kernel_size = config_.conv_depthwise_kernel_size;

  layer_norm = register_module("layer_norm", make_layer_norm(channels, config_));
  pointwise_conv1 = register_module("pointwise_conv1",
                                    make_conv1d(Options(channels, 2 * channels, 1).bias(false)));
  glu = register_module("glu", torch::nn::GLU(torch::nn::GLUOptions(1)));
  depthwise_conv = register_module(
      "depthwise_conv",
      make_conv1d(Options(channels, channels, kernel_size).groups(channels).bias(false)));
  depthwise_layer_norm =
      register_module("depthwise_layer_norm", make_layer_norm(channels, config_));
  activation = register_module("activation", Activation(config_.hidden_act, "hidden_act"));
  pointwise_conv2 =
      register_module("pointwise_conv2", make_conv1d(Options(channels, channels, 1).bias(false)));
  dropout = register_module("dropout", torch::nn::Dropout(config_.conformer_conv_dropout));
}

torch::Tensor Wav2Vec2BertConvolutionModuleImpl::forward(torch::Tensor hidden_states,
                                                         const torch::Tensor& attention_mask) {
  check_hidden_states(hidden_states, "hidden_states", config_.hidden_size, pointwise_conv1->weight);
  const auto valid = check_attention_mask(attention_mask, "attention_mask", hidden_states);
  return forward_checked(std::move(hidden_states), padded_frames(valid));
}

torch::Tensor Wav2Vec2BertConvolutionModuleImpl::forward_checked(torch::Tensor hidden_states,
                                                                 const torch::Tensor& padded) {
  hidden_states = layer_norm(hidden_states);
  // Padded frames must not leak into the depthwise convolution.
  hidden_states = zero_padded_frames(hidden_states, padded);

  hidden_states = hidden_states.transpose(1, 2);   // (B, T, C) -> (B, C, T)
  hidden_states = pointwise_conv1(hidden_states);  // (B, C, T) -> (B, 2C, T)
  hidden_states = glu(hidden_states);              // (B, 2C, T) -> (B, C, T)

  const auto left = config_.conv_depthwise_kernel_size - 1;
  hidden_states =
      torch::constant_pad_nd(hidden_states, {left, 0});  // (B, C, T) -> (B, C, left + T)
  hidden_states = depthwise_conv(hidden_states);         // (B, C, left + T) -> (B, C, T)
  hidden_states = depthwise_layer_norm(hidden_states.transpose(1, 2)).transpose(1, 2);
  hidden_states = activation(hidden_states);

  hidden_states = pointwise_conv2(hidden_states);
  hidden_states = dropout(hidden_states);
  return hidden_states.transpose(1, 2);  // (B, C, T) -> (B, T, C)
}

void Wav2Vec2BertConvolutionModuleImpl::pretty_print(std::ostream& stream) const {
  stream << "w2vbert::Wav2Vec2BertConvolutionModule(" << config_.hidden_size
         << ", kernel_size=" << config_.conv_depthwise_kernel_size << ", causal)";
}

}  // namespace w2vbert
