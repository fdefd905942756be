// What PyTorch computed, module by module: a file of scripts/export_parity_fixtures.py.
#pragma once

#include <torch/types.h>

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "w2vbert/checkpoint/checkpoint.h"
#include "w2vbert/models/any_model.h"

namespace w2vbert::tool {

// What one side tells of itself, by name.
using Settings = std::map<std::string, std::string>;
// Empty when absent.
std::string setting_of(const Settings& settings, const std::string& key);

// For a reference pack, which scripts/export_parity_fixtures.py --pack writes: the file in it, and
// the directory of its model, if any. For a file: itself.
struct ReferencePaths {
  std::string file;
  std::string model;
};
ReferencePaths reference_paths(const std::string& path);

class Reference {
 public:
  // A file of the exporter, or a reference pack: a directory with it. Reads the
  // header; tensors are read when asked for. Throws CheckpointError, also for a
  // safetensors file that is something else.
  static Reference open(const std::string& path_or_pack);

  // Where its tensors come to, and what a model takes that they are put into: floats are cast, the
  // masks of eager and sdpa attention made from one another. Without this call the CPU, and all as
  // in PyTorch.
  void compute_in(torch::Device device, torch::ScalarType dtype,
                  const std::string& attn_implementation);

  const std::string& path() const { return tensors_->path(); }

  // The exporter's metadata: "model", "architecture", "dtype", "threads", ...; empty when absent.
  std::string setting(const std::string& key) const { return setting_of(settings_, key); }
  const Settings& settings() const { return settings_; }
  bool flag(const std::string& key) const { return setting(key) == "1"; }
  torch::ScalarType dtype() const;  // of the model's parameters in PyTorch
  int threads() const;
  std::uint64_t seed() const;
  // The release of transformers that made it; where that is not followed, the oldest for an older
  // one, else the newest.
  HfVersion hf_version() const;

  // Submodules in the order in which their forwards ended, inner ones first. Empty for a model in
  // training mode.
  const std::vector<std::string>& modules() const { return modules_; }

  bool has(const std::string& name) const { return tensors_->find(name) != nullptr; }
  // Undefined when this name is absent. With the strides and the alignment that it had in
  // PyTorch, as far as an operation could round differently on them.
  torch::Tensor tensor(const std::string& name) const;
  torch::Tensor input_of(const std::string& module, const std::string& argument) const;
  torch::Tensor output_of(const std::string& module, std::size_t index) const;
  ModelInputs inputs() const;
  // Under AnyModel's names: "logits", "hidden_states.3".
  torch::Tensor output(const std::string& name) const;
  std::vector<std::string> outputs() const;
  // The names of the parameters that got a gradient.
  std::vector<std::string> gradients() const;

 private:
  explicit Reference(Checkpoint tensors);
  torch::Tensor input(const std::string& name) const;
  std::vector<std::string> names_after(const std::string& prefix) const;

  std::shared_ptr<const Checkpoint> tensors_;
  torch::Device device_ = torch::kCPU;
  torch::ScalarType compute_dtype_ = torch::kFloat;
  Settings settings_;
  std::vector<std::string> modules_;
  std::string attn_implementation_;
  std::vector<std::string> transposed_;
  std::map<std::string, std::int64_t> misaligned_;  // bytes behind an aligned address
};

}  // namespace w2vbert::tool
