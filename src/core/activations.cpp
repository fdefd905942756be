#include "core/activations.h"

#include <torch/types.h>

#include <cmath>
#include <map>
#include <numbers>

#include "core/mkl_vml.h"
#include "w2vbert/core/error.h"

namespace w2vbert {
namespace {

using torch::Tensor;

const double kSqrtTwoOverPi = std::sqrt(2.0 / std::numbers::pi);

// x is used twice, and the gradients of both uses are added in the order in which the forward pass
// met them: one statement each, in HF's order, for C++ may evaluate operands in any.

Tensor gelu_tanh(const Tensor& x) {
  const Tensor half = x * 0.5;
  return half * (torch::tanh((x + torch::pow(x, 3.0) * 0.044715) * kSqrtTwoOverPi) + 1.0);
}

Tensor gelu_fast(const Tensor& x) {
  const Tensor half = x * 0.5;
  const Tensor scaled = x * 0.7978845608;
  return half * (torch::tanh(scaled * (x * 0.044715 * x + 1.0)) + 1.0);
}

Tensor gelu_python(const Tensor& x) {
  const Tensor half = x * 0.5;
  return half * (torch::erf(x / std::sqrt(2.0)) + 1.0);
}

const std::map<std::string, ActivationFunction>& activations() {
  static const std::map<std::string, ActivationFunction> functions = {
      {"gelu", [](const Tensor& x) { return torch::gelu(x); }},
      {"gelu_10", [](const Tensor& x) { return torch::clip(torch::gelu(x), -10, 10); }},
      {"gelu_accurate", gelu_tanh},
      {"gelu_fast", gelu_fast},
      {"gelu_new", gelu_tanh},
      {"gelu_python", gelu_python},
      {"gelu_python_tanh", gelu_tanh},
      {"gelu_pytorch_tanh", [](const Tensor& x) { return torch::gelu(x, "tanh"); }},
      {"hardswish", [](const Tensor& x) { return torch::hardswish(x); }},
      {"laplace",
       [](const Tensor& x) {
         const Tensor scaled = (x - 0.707107).div(0.282095 * std::sqrt(2.0));
         return (torch::erf(scaled) + 1.0) * 0.5;
       }},
      {"leaky_relu", [](const Tensor& x) { return torch::leaky_relu(x, 0.01); }},
      {"linear", [](const Tensor& x) { return x; }},
      {"mish", [](const Tensor& x) { return torch::mish(x); }},
      {"quick_gelu", [](const Tensor& x) { return x * torch::sigmoid(x * 1.702); }},
      {"relu", [](const Tensor& x) { return torch::relu(x); }},
      {"relu2", [](const Tensor& x) { return torch::square(torch::relu(x)); }},
      {"relu6", [](const Tensor& x) { return torch::relu6(x); }},
      {"sigmoid", [](const Tensor& x) { return torch::sigmoid(x); }},
      {"silu", [](const Tensor& x) { return torch::silu(x); }},
      {"sqrtsoftplus", [](const Tensor& x) { return torch::softplus(x).sqrt(); }},
      {"swish", [](const Tensor& x) { return torch::silu(x); }},
      {"tanh", [](const Tensor& x) { return torch::tanh(x); }},
  };
  return functions;
}

}  // namespace

ActivationFunction activation_function(const std::string& name, const std::string& config_key) {
  warm_up_mkl_vml();
  const auto found = activations().find(name);
  if (found != activations().end()) return found->second;
  std::string known = "one of";
  for (const auto& [known_name, function] : activations()) known += ' ' + known_name;
  known += " prelu";
  throw ConfigError("config", config_key, '"' + name + "\" is not supported", known);
}

}  // namespace w2vbert
