#include "w2vbert/nn/linear.h"

#include <torch/types.h>

namespace w2vbert {

torch::Tensor LinearImpl::forward(const torch::Tensor& input) {
  return torch::linear(input, weight, bias);
}

}  // namespace w2vbert
