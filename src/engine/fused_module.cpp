#include "engine/fused_module.h"

#include <ATen/ATen.h>

#include "nn/check_inputs.h"

namespace w2vbert {

at::Tensor check_fused_forward(const torch::nn::Module& module, const at::Tensor& hidden_states,
                               std::int64_t width, const at::Tensor& attention_mask) {
  TORCH_CHECK_VALUE(!module.is_training(), "a fused model does inference only: call eval()");
  check_hidden_states(hidden_states, "hidden_states", width, at::empty({0}, at::kFloat));
  TORCH_CHECK_VALUE(!(at::GradMode::is_enabled() && hidden_states.requires_grad()),
                    "a fused model gives no gradients: use torch::NoGradGuard");
  return check_attention_mask(attention_mask, "attention_mask", hidden_states);
}

void refuse_clone() {
  TORCH_CHECK_VALUE(false, "a fused model cannot be cloned: clone it before fuse()");
}

}  // namespace w2vbert
