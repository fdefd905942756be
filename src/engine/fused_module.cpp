#include "engine/fused_module.h"

#include <ATen/ATen.h>

#include "nn/check_inputs.h"

namespace w2vbert {

at::Tensor check_fused_forward(const torch::nn::Module& module, const at::Tensor& hidden_states,
                               std::int64_t width, const at::Tensor& attention_mask,
                               const at::Tensor& parameter) {
  TORCH_CHECK_VALUE(!module.is_training(), "a fused model does inference only: call eval()");
  check_hidden_states(hidden_states, "hidden_states", width, parameter);
  TORCH_CHECK_VALUE(!(at::GradMode::is_enabled() && hidden_states.requires_grad()),
                    "a fused model gives no gradients: use torch::NoGradGuard");
  return check_attention_mask(attention_mask, "attention_mask", hidden_states);
}

at::Tensor check_fused_forward(const torch::nn::Module& module, const at::Tensor& hidden_states,
                               std::int64_t width, const at::Tensor& attention_mask) {
  return check_fused_forward(module, hidden_states, width, attention_mask,
                             at::empty({0}, at::kFloat));
}

std::int64_t checked_stop_after(const ForwardOptions& options, std::int64_t layers) {
  const std::int64_t stop_after = options.stop_after.value_or(layers);
  TORCH_CHECK_VALUE(stop_after >= 0 && stop_after <= layers, "stop_after: ", stop_after,
                    ", expected from 0 to ", layers);
  return stop_after;
}

void refuse_clone() {
  TORCH_CHECK_VALUE(false, "a fused model cannot be cloned: clone it before fuse()");
}

}  // namespace w2vbert
