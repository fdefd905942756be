// clone() of the layers that derive from LibTorch's own, whose clone() would give a layer of
// LibTorch.
#pragma once

#include <torch/nn/module.h>
#include <torch/utils.h>

#include <optional>

namespace w2vbert {

// Gives `copy`, a new layer with the same parameters' names, the values of `layer` in memory of its
// own.
template <class Layer>
void copy_parameters(const Layer& layer, Layer& copy, const std::optional<torch::Device>& device) {
  const torch::NoGradGuard no_grad;
  auto targets = copy.named_parameters(/*recurse=*/false);
  for (const auto& item : layer.named_parameters(/*recurse=*/false)) {
    const torch::Tensor& source = item.value();
    torch::Tensor& target = targets[item.key()];
    target.set_data(device && *device != source.device() ? source.to(*device) : source.clone());
    target.set_requires_grad(source.requires_grad());
  }
  copy.train(layer.is_training());
}

}  // namespace w2vbert
