// Layers of the device engine, from the mirror's modules. They take the modules' weights without a
// copy where they can.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <string>

#include "engine/device/device_ops.h"
#include "w2vbert/config/wav2vec2_bert_config.h"
#include "w2vbert/nn/encoder_layer.h"

namespace w2vbert {

DeviceLayerNorm layer_norm_of(const torch::nn::LayerNorm& module);

DeviceLinear linear_of(const Linear& module);
// A convolution of one frame.
DeviceLinear linear_of(const Conv1d& module);
// linear_q, linear_k and linear_v in one product: (R, C) -> (R, 3C)
DeviceLinear linear_qkv_of(const Wav2Vec2BertSelfAttention& module);

// `name`: the activation's, of the config.
DeviceActivation activation_of(const Activation& module, const std::string& name);
DeviceConv conv_of(const Wav2Vec2BertConvolutionModule& module, const Wav2Vec2BertConfig& config);

struct DeviceFeedForward {
  DeviceLinear intermediate_dense, output_dense;
  DeviceActivation intermediate_act_fn;

  // `act_fn`: the activation's name.
  DeviceFeedForward(const Wav2Vec2BertFeedForward& module, const std::string& act_fn);
  at::Tensor forward(const at::Tensor& rows, const DeviceOps& ops) const;
};

// Without positions, as in the adapter, unless distance_embedding is set.
DeviceAttention attention_of(const Wav2Vec2BertConfig& config);

}  // namespace w2vbert
