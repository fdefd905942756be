// Parameters as training might leave them. New ones hide faults: biases are 0 and norms are 1, so a
// bias that is left out or two norms that are swapped change nothing.
#pragma once

#include <ATen/CPUGeneratorImpl.h>
#include <torch/nn/module.h>
#include <torch/types.h>
#include <torch/utils.h>

#include <cmath>
#include <cstdint>
#include <string_view>

#include "support/namespaces.h"

namespace w2vbert::testing {

// Draws every parameter of `module` from `seed`, in the order of registration; LibTorch's own
// generator stays as it is. By shape and name:
//   weights of norms (one dimension)        1 +- 0.3
//   PReLU's weight (one value)              0.25 +- 0.1
//   biases and other vectors                +- 0.2
//   embeddings of distances, biases of positions   normal, standard deviation 0.4
//   other matrices and convolutions         normal, standard deviation kGain / sqrt(fan-in)
// so that a layer's output is about as large as the state it is added to.
inline void randomize_parameters(torch::nn::Module& module, std::uint64_t seed) {
  constexpr double kGain = 0.7;
  const torch::NoGradGuard no_grad;
  auto generator = at::make_generator<at::CPUGeneratorImpl>(seed);
  for (const auto& item : module.named_parameters()) {
    const std::string_view name = item.key();
    torch::Tensor value = item.value();
    // Drawn in float32 and rounded: a module of another dtype gets the same values.
    torch::Tensor drawn = torch::empty(value.sizes(), torch::kFloat);
    if (value.dim() == 1 && name.ends_with("weight")) {
      value.numel() == 1 ? drawn.uniform_(0.15, 0.35, generator)
                         : drawn.uniform_(0.7, 1.3, generator);
    } else if (value.dim() == 1) {
      drawn.uniform_(-0.2, 0.2, generator);
    } else if (name.ends_with("distance_embedding.weight") || name.ends_with("pos_bias_u") ||
               name.ends_with("pos_bias_v")) {
      drawn.normal_(0.0, 0.4, generator);
    } else {
      const std::int64_t fan_in = value.numel() / value.size(0);
      drawn.normal_(0.0, kGain / std::sqrt(static_cast<double>(fan_in)), generator);
    }
    value.copy_(drawn);
  }
}

}  // namespace w2vbert::testing
