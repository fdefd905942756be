#include "w2vbert/nn/linear.h"

#include <torch/types.h>

#include "nn/check_inputs.h"
#include "nn/clone_layer.h"

namespace w2vbert {

torch::Tensor LinearImpl::forward(const torch::Tensor& input) {
  check_defined(input, "input");
  return torch::linear(input, weight, bias);
}

std::shared_ptr<torch::nn::Module> LinearImpl::clone(
    const std::optional<torch::Device>& device) const {
  // One feature: the parameters come from this layer.
  return clone_layer(*this, device, [this] {
    return std::make_shared<LinearImpl>(torch::nn::LinearOptions(1, 1).bias(options.bias()));
  });
}

}  // namespace w2vbert
