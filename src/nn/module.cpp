#include "w2vbert/nn/module.h"

#include <torch/types.h>
#include <torch/utils.h>

#include <vector>

#include "w2vbert/nn/initialization.h"

namespace w2vbert {
namespace {

// LibTorch's clone() gives every parameter a gradient and every ModuleList the training mode.
void copy_modes(const torch::nn::Module& original, torch::nn::Module& copy) {
  if (copy.is_training() != original.is_training()) copy.train(original.is_training());
  auto copies = copy.named_parameters(/*recurse=*/false);
  for (const auto& item : original.named_parameters(/*recurse=*/false)) {
    copies[item.key()].set_requires_grad(item.value().requires_grad());
  }
  const auto children = copy.named_children();
  for (const auto& child : original.named_children()) {
    copy_modes(*child.value(), *children[child.key()]);
  }
}

// Tensor::set_data takes a tensor of another backend, but for the meta device's.
void move_to_meta(const torch::Tensor& tensor) {
  if (tensor.is_meta()) return;  // shared by two modules
  const torch::Tensor meta =
      torch::empty_strided(tensor.sizes(), tensor.strides(), tensor.options().device(torch::kMeta));
  tensor.unsafeGetTensorImpl()->_change_backend_component_keys(meta.device());
  tensor.set_data(meta);
}

}  // namespace

std::shared_ptr<torch::nn::Module> clone_module(
    const torch::nn::Module& module, const std::optional<torch::Device>& device,
    const std::function<std::shared_ptr<torch::nn::Module>(const std::optional<torch::Device>&)>&
        copy) {
  const auto check_values = [](const std::vector<torch::Tensor>& tensors) {
    for (const torch::Tensor& tensor : tensors) {
      TORCH_CHECK_VALUE(!tensor.is_meta(),
                        "clone: the module is on the meta device, expected one with values");
    }
  };
  check_values(module.parameters());
  check_values(module.buffers());
  const SkipInitialization skip;  // every value is copied
  const torch::NoGradGuard no_grad;
  const bool to_meta = device && device->is_meta();
  std::optional<torch::Device> target;
  // With its index: LibTorch takes "cuda" for another device than "cuda:0", and shares the memory.
  if (device && !to_meta) target = torch::empty({0}, *device).device();
  auto result = copy(target);
  copy_modes(module, *result);
  if (to_meta) {
    for (const auto& tensor : result->parameters()) move_to_meta(tensor);
    for (const auto& tensor : result->buffers()) move_to_meta(tensor);
  }
  return result;
}

}  // namespace w2vbert
