#include "w2vbert/nn/activation.h"

#include <torch/types.h>

#include "core/activations.h"
#include "nn/check_inputs.h"

namespace w2vbert {

ActivationImpl::ActivationImpl(std::string name, std::string config_key)
    : name_(std::move(name)), config_key_(std::move(config_key)) {
  reset();
}

void ActivationImpl::reset() {
  if (name_ == "prelu") {
    constexpr double kInit = 0.25;  // nn.PReLU's
    weight = register_parameter("weight", torch::full({1}, kInit));
    function_ = nullptr;
  } else {
    function_ = activation_function(name_, config_key_);
  }
}

torch::Tensor ActivationImpl::forward(const torch::Tensor& input) {
  check_defined(input, "input");
  return weight.defined() ? torch::prelu(input, weight) : function_(input);
}

void ActivationImpl::pretty_print(std::ostream& stream) const {
  stream << "w2vbert::Activation(" << name_ << ")";
}

}  // namespace w2vbert
