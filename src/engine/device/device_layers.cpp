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

DeviceFeedForward::DeviceFeedForward(const Wav2Vec2BertFeedForward& module)
    : intermediate_dense(linear_of(module->intermediate_dense)),
      output_dense(linear_of(module->output_dense)),
      intermediate_act_fn(module->intermediate_act_fn.ptr()) {}

at::Tensor DeviceFeedForward::operator()(const at::Tensor& rows) const {
  return output_dense(intermediate_act_fn->forward(intermediate_dense(rows)));
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
