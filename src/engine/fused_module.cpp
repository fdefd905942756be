#include "engine/fused_module.h"

#include <ATen/ATen.h>

#include <numeric>
#include <utility>

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

std::vector<std::int64_t> states_for(const ForwardOptions& options, std::int64_t layers,
                                     const std::string& attn_implementation) {
  TORCH_CHECK_VALUE(!options.output_attentions.value_or(false) || attn_implementation == "sdpa",
                    "a fused model gives no attentions, expected output_attentions = false");
  const std::int64_t last = options.stop_after.value_or(layers);
  TORCH_CHECK_VALUE(last >= 0 && last <= layers, "stop_after: ", last, ", expected from 0 to ",
                    layers);
  if (!options.output_hidden_states.value_or(false)) return {last};
  std::vector<std::int64_t> states(static_cast<std::size_t>(last) + 1);
  std::iota(states.begin(), states.end(), 0);
  return states;
}

Wav2Vec2BertEncoderImpl::Output encoder_output(std::vector<at::Tensor> states,
                                               const ForwardOptions& options) {
  Wav2Vec2BertEncoderImpl::Output output;
  output.last_hidden_state = states.back();
  if (options.output_hidden_states.value_or(false)) output.hidden_states = std::move(states);
  return output;
}

void refuse_clone() {
  TORCH_CHECK_VALUE(false, "a fused model cannot be cloned: clone it before fuse()");
}

}  // namespace w2vbert
