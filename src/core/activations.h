// Activation functions by the names that HF's ACT2FN gives them (transformers/activations.py).
#pragma once

#include <ATen/core/Tensor.h>

#include <functional>
#include <string>

namespace w2vbert {

using ActivationFunction = std::function<at::Tensor(const at::Tensor&)>;

// The function that ACT2FN[name] computes, operation for operation. "prelu" has a parameter and is
// a module's (nn/activation.h). Throws ConfigError naming `config_key`, the name and the known
// names.
ActivationFunction activation_function(const std::string& name, const std::string& config_key);

}  // namespace w2vbert
