#include "w2vbert/checkpoint/weight_source.h"

#include <ATen/ATen.h>
#include <torch/nn/module.h>

#include <utility>

#include "checkpoint/state_dict.h"
#include "checkpoint/tensor_dtype.h"
#include "checkpoint/weight_checks.h"
#include "w2vbert/core/error.h"

namespace w2vbert {

const std::vector<std::string>& WeightSource::warnings() const {
  static const std::vector<std::string> kNone;
  return kNone;
}

ModuleWeights::ModuleWeights(const torch::nn::Module& module)
    : ModuleWeights(module.name(), state_dict_of(module)) {}

ModuleWeights::ModuleWeights(std::string path,
                             const std::vector<std::pair<std::string, at::Tensor>>& tensors)
    : path_(std::move(path)) {
  for (const auto& [name, tensor] : tensors) {
    names_.push_back(name);
    Entry entry;
    entry.info.dtype_name = dtype_name_of(tensor.scalar_type()).value_or("");
    entry.info.shape = tensor.sizes().vec();
    entry.tensor = tensor.detach();
    entries_.emplace(name, std::move(entry));
  }
}

const WeightInfo* ModuleWeights::find(std::string_view name) const {
  const auto found = entries_.find(std::string(name));
  return found == entries_.end() ? nullptr : &found->second.info;
}

const ModuleWeights::Entry& ModuleWeights::entry_of(std::string_view name) const {
  const auto found = entries_.find(std::string(name));
  if (found == entries_.end()) throw CheckpointError(path_, name, "is not in the module");
  return found->second;
}

void ModuleWeights::read(std::string_view name, const at::Tensor& destination) const {
  const Entry& entry = entry_of(name);
  check_destination(name, entry.info.shape, "in the module", destination);
  destination.detach().copy_(entry.tensor);
}

void ModuleWeights::read_rows(std::string_view name, std::int64_t first, std::int64_t count,
                              float* to) const {
  const Entry& entry = entry_of(name);
  check_rows(name, entry.info.shape, first, count);
  const at::Tensor rows = entry.tensor.narrow(0, first, count);
  at::from_blob(to, rows.sizes(), at::kFloat).copy_(rows);
}

}  // namespace w2vbert
