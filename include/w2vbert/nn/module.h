// What the modules of this library share.
#pragma once

#include <torch/nn/cloneable.h>

#include <functional>
#include <memory>
#include <optional>

namespace w2vbert {

/// A module whose own buffers are no part of a checkpoint: nn.Buffer(..., persistent=False) in
/// Python. LibTorch's register_buffer knows no such difference.
class NonPersistentBuffers {
 public:
  virtual ~NonPersistentBuffers() = default;
};

/// What clone() of every module here does around `copy`, which clones as LibTorch does. Throws
/// c10::ValueError for a module on the meta device, which has no values to copy.
std::shared_ptr<torch::nn::Module> clone_module(
    const torch::nn::Module& module, const std::optional<torch::Device>& device,
    const std::function<std::shared_ptr<torch::nn::Module>(const std::optional<torch::Device>&)>&
        copy);

/// torch::nn::Cloneable with a clone() that leaves nothing out: the copy has memory of its own, the
/// original's class, values and dtypes, and, unlike LibTorch's, its requires_grad, the training
/// mode of every module in it, and, on request, the meta device (shapes and dtypes alone).
template <class Derived>
class Cloneable : public torch::nn::Cloneable<Derived> {
 public:
  std::shared_ptr<torch::nn::Module> clone(
      const std::optional<torch::Device>& device = std::nullopt) const override {
    return clone_module(*this, device, [this](const std::optional<torch::Device>& target) {
      return torch::nn::Cloneable<Derived>::clone(target);
    });
  }
};

}  // namespace w2vbert
