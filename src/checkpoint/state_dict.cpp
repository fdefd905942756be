#include "checkpoint/state_dict.h"

#include <string>

#include "w2vbert/nn/module.h"

namespace w2vbert {
namespace {

void append(const torch::nn::Module& module, const std::string& prefix, NamedTensors& tensors) {
  const auto add = [&](const auto& items) {
    for (const auto& item : items) {
      if (item.value().defined()) tensors.emplace_back(prefix + item.key(), item.value());
    }
  };
  add(module.named_parameters(/*recurse=*/false));
  if (dynamic_cast<const NonPersistentBuffers*>(&module) == nullptr) {
    add(module.named_buffers(/*recurse=*/false));
  }
  for (const auto& child : module.named_children()) {
    append(*child.value(), prefix + child.key() + ".", tensors);
  }
}

}  // namespace

NamedTensors state_dict_of(const torch::nn::Module& module) {
  NamedTensors tensors;
  append(module, "", tensors);
  return tensors;
}

}  // namespace w2vbert
