// What the modules of a fused model have in common.
#pragma once

#include <ATen/core/Tensor.h>
#include <torch/nn/module.h>

#include <cstdint>

namespace w2vbert {

// Throws c10::ValueError for what a fused module's forward does not take: training mode, an input
// whose gradients are recorded, and what the mirror does not take either (nn/check_inputs.h), whose
// parameters would be float32 on a CPU. Returns the mask as booleans.
at::Tensor check_fused_forward(const torch::nn::Module& module, const at::Tensor& hidden_states,
                               std::int64_t width, const at::Tensor& attention_mask);

// What clone() of a fused module does: throws c10::ValueError.
[[noreturn]] void refuse_clone();

}  // namespace w2vbert
