// What the modules of a fused model have in common.
#pragma once

#include <ATen/core/Tensor.h>
#include <torch/nn/module.h>

#include <cstdint>

#include "w2vbert/nn/encoder.h"

namespace w2vbert {

// Throws c10::ValueError for what a fused module's forward does not take: training mode, an input
// whose gradients are recorded, and what the mirror does not take either (nn/check_inputs.h), whose
// parameters would be like `parameter`. Returns the mask as booleans.
at::Tensor check_fused_forward(const torch::nn::Module& module, const at::Tensor& hidden_states,
                               std::int64_t width, const at::Tensor& attention_mask,
                               const at::Tensor& parameter);
// The same where they would be float32 on a CPU.
at::Tensor check_fused_forward(const torch::nn::Module& module, const at::Tensor& hidden_states,
                               std::int64_t width, const at::Tensor& attention_mask);

// How many of an encoder's layers are to run. Throws c10::ValueError for a stop_after that it does
// not have.
std::int64_t checked_stop_after(const ForwardOptions& options, std::int64_t layers);

// What clone() of a fused module does: throws c10::ValueError.
[[noreturn]] void refuse_clone();

}  // namespace w2vbert
