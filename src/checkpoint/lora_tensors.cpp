#include "checkpoint/lora_tensors.h"

#include <ATen/ATen.h>

#include <optional>
#include <vector>

#include "checkpoint/tensor_dtype.h"
#include "checkpoint/wrapped_names.h"
#include "core/text.h"
#include "w2vbert/core/error.h"

namespace w2vbert {
namespace {

// Each name is looked for from each of its dots on. PEFT's have some 100 bytes.
constexpr std::size_t kMaxNameBytes = 1024;

// PEFT's name of the tensor `key`, without its prefix; nothing for what PEFT leaves out itself.
std::optional<std::string> peft_name(const std::string& key) {
  std::vector<std::string> parts = split(key, '.');
  const auto erase = [&](std::size_t i) {
    parts.erase(parts.begin() + static_cast<std::ptrdiff_t>(i));
  };
  for (std::size_t i = 0; i < parts.size(); ++i) {
    const std::size_t behind = parts.size() - i - 1;
    if (parts[i] == "original_module") return std::nullopt;
    if (parts[i] == "modules_to_save") {
      // The adapter's name stands between, but where PEFT has taken it away: before "bias".
      if (behind > 1) erase(i + 1);
      erase(i);
      break;
    }
    const bool is_embedding = parts[i] == "lora_embedding_A" || parts[i] == "lora_embedding_B";
    if ((is_embedding && behind == 1) ||
        ((parts[i] == "lora_A" || parts[i] == "lora_B") && behind == 2)) {
      erase(i + 1);
    }
  }
  std::string name;
  for (std::size_t i = 0; i < parts.size(); ++i) name += (i == 0 ? "" : ".") + parts[i];
  return name;
}

// "a.b.lora_A.weight" -> "a.b".
std::string module_of_matrix(const std::string& name) {
  return name.substr(0, name.find(".lora_"));
}

}  // namespace

LoraTensors::LoraTensors(const std::string& path) : file_(Checkpoint::open(path)) {
  for (const CheckpointTensor& tensor : file_.tensors()) {
    if (!tensor.name.starts_with(kPeftPrefix)) {
      throw CheckpointError(path, tensor.name, "is no tensor of an adapter",
                            "a name with " + std::string(kPeftPrefix));
    }
    if (tensor.name.size() > kMaxNameBytes) {
      throw CheckpointError(path, tensor.name,
                            "has a name of " + std::to_string(tensor.name.size()) + " bytes",
                            "at most " + std::to_string(kMaxNameBytes));
    }
    if (!is_weight_dtype(tensor.dtype_name)) {
      throw CheckpointError(path, tensor.name, "has dtype " + tensor.dtype_name, kWeightDtypes);
    }
    const auto trained = peft_name(tensor.name.substr(kPeftPrefix.size()));
    if (!trained) continue;
    const std::string name = without_wrappers(*trained);
    if (name != *trained) trained_names_[module_of_matrix(name)] = module_of_matrix(*trained);
    add(std::string(kPeftPrefix) + name, tensor.name);
  }
}

void LoraTensors::add(const std::string& name, const std::string& key) {
  const auto [place, added] = keys_.emplace(name, key);
  // With bias "all" PEFT saves the biases of a module that is saved whole under two names.
  if (!added && !at::equal(file_.read(place->second), file_.read(key))) {
    throw CheckpointError(file_.path(), key, "has other values than " + quote_bytes(place->second),
                          "the same");
  }
}

const CheckpointTensor* LoraTensors::find(const std::string& name) const {
  const auto found = keys_.find(name);
  return found == keys_.end() ? nullptr : file_.find(found->second);
}

const std::string& LoraTensors::key_of(const std::string& name) const {
  const auto found = keys_.find(name);
  return found == keys_.end() ? name : found->second;
}

const std::string& LoraTensors::trained_name(const std::string& module) const {
  const auto found = trained_names_.find(module);
  return found == trained_names_.end() ? module : found->second;
}

}  // namespace w2vbert
