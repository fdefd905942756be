#include "engine/device/device_layers.h"

#include <torch/types.h>

namespace w2vbert {

DeviceLayerNorm layer_norm_of(const torch::nn::LayerNorm& module) {
  return {module->weight.detach().to(at::kFloat), module->bias.detach().to(at::kFloat),
          module->options.eps()};
}

DeviceLinear linear_of(const Linear& module) {
  return {module->weight.detach(), module->bias.detach()};
}

DeviceLinear linear_of(const Conv1d& module) {
  return {module->weight.detach().squeeze(2), {}};  // (M, N, 1) -> (M, N)
}

DeviceLinear linear_qkv_of(const Wav2Vec2BertSelfAttention& module) {
  const auto all = [](const at::Tensor& q, const at::Tensor& k, const at::Tensor& v) {
    return at::cat({q.detach(), k.detach(), v.detach()});
  };
  const Linear &q = module->linear_q, &k = module->linear_k, &v = module->linear_v;
  return {all(q->weight, k->weight, v->weight), all(q->bias, k->bias, v->bias)};
}

DeviceActivation activation_of(const Activation& module, const std::string& name) {
  return {module.ptr(), name == "swish" || name == "silu"};
}

DeviceConv conv_of(const Wav2Vec2BertConvolutionModule& module, const Wav2Vec2BertConfig& config) {
  const at::Tensor weight =
      module->depthwise_conv->weight.detach().squeeze(1);  // (C, 1, K) -> (C, K)
  return {module->depthwise_conv.ptr(), weight.t().contiguous(),
          layer_norm_of(module->depthwise_layer_norm),
          activation_of(module->activation, config.hidden_act)};
}

DeviceFeedForward::DeviceFeedForward(const Wav2Vec2BertFeedForward& module,
                                     const std::string& act_fn)
    : intermediate_dense(linear_of(module->intermediate_dense)),
      output_dense(linear_of(module->output_dense)),
      intermediate_act_fn(activation_of(module->intermediate_act_fn, act_fn)) {}

at::Tensor DeviceFeedForward::forward(const at::Tensor& rows, const DeviceOps& ops) const {
  return output_dense(ops.activated_linear(intermediate_dense, intermediate_act_fn, rows));
}

DeviceAttention attention_of(const Wav2Vec2BertConfig& config) {
  DeviceAttention attention;
  attention.heads = config.num_attention_heads;
  attention.left = config.left_max_position_embeddings;
  attention.right = config.right_max_position_embeddings;
  attention.sdpa = config.attn_implementation == "sdpa";
  return attention;
}

}  // namespace w2vbert
