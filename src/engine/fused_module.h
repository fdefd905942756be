// What the modules of a fused model have in common.
#pragma once

#include <ATen/core/Tensor.h>
#include <torch/nn/module.h>

#include <cstdint>
#include <string>
#include <vector>

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

// Numbers of the states that an encoder of `layers` layers computes for those options, ascending:
// that of the last layer that runs, or all up to it. Throws c10::ValueError for a stop_after that
// the encoder does not have, and for attentions, unless attn_implementation is sdpa, which gives
// none.
std::vector<std::int64_t> states_for(const ForwardOptions& options, std::int64_t layers,
                                     const std::string& attn_implementation);

// An encoder's output of these states, (B, T, C) each.
Wav2Vec2BertEncoderImpl::Output encoder_output(std::vector<at::Tensor> states,
                                               const ForwardOptions& options);

// What clone() of a fused module does: throws c10::ValueError.
[[noreturn]] void refuse_clone();

}  // namespace w2vbert
