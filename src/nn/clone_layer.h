// clone() of the layers that derive from LibTorch's own, whose clone() would give a layer of
// LibTorch.
#pragma once

#include <optional>

#include "w2vbert/nn/module.h"

namespace w2vbert {

// `make` gives a new layer with parameters of the same names, of any shape; it becomes a copy of
// `layer`.
template <class Layer, class Make>
std::shared_ptr<torch::nn::Module> clone_layer(const Layer& layer,
                                               const std::optional<torch::Device>& device,
                                               const Make& make) {
  return clone_module(layer, device, [&](const std::optional<torch::Device>& target) {
    std::shared_ptr<Layer> copy = make();
    copy->options = layer.options;
    auto copies = copy->named_parameters(/*recurse=*/false);
    for (const auto& item : layer.named_parameters(/*recurse=*/false)) {
      const torch::Tensor& source = item.value();
      copies[item.key()].set_data(target && *target != source.device() ? source.to(*target)
                                                                       : source.clone());
    }
    return copy;
  });
}

}  // namespace w2vbert
