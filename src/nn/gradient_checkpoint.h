// Activations that are computed again in the backward pass instead of being kept.
#pragma once

#include <torch/types.h>

#include <functional>
#include <vector>

namespace w2vbert {

using CheckpointedFunction = std::function<std::vector<torch::Tensor>(const torch::Tensor& input)>;

// What torch.utils.checkpoint(use_reentrant=False) is in Python: `function(input)`, of whose graph
// only `input` and the state of the random generators stay. The backward pass runs the function
// once more, in grad mode and with the same random numbers, so values and gradients keep every bit.
// `parameters`: what else the function's result depends on and may need a gradient. Outputs may be
// undefined. Without grad mode this is a plain call.
std::vector<torch::Tensor> gradient_checkpoint(const CheckpointedFunction& function,
                                               const torch::Tensor& input,
                                               const std::vector<torch::Tensor>& parameters);

}  // namespace w2vbert
