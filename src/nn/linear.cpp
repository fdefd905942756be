#include "w2vbert/nn/linear.h"

#include <torch/types.h>

#include "nn/clone_layer.h"

namespace w2vbert {

torch::Tensor LinearImpl::forward(const torch::Tensor& input) {
  return torch::linear(input, weight, bias);
}

std::shared_ptr<torch::nn::Module> LinearImpl::clone(
    const std::optional<torch::Device>& device) const {
  // One feature: the parameters come from this layer.
  auto copy = std::make_shared<LinearImpl>(torch::nn::LinearOptions(1, 1).bias(options.bias()));
  copy->options = options;
  copy_parameters(*this, *copy, device);
  return copy;
}

}  // namespace w2vbert
