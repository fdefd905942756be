// The tensors of an adapter, however they are spelled.
#pragma once

#include <ATen/core/Tensor.h>

#include <map>
#include <set>
#include <string>
#include <string_view>

#include "w2vbert/checkpoint/checkpoint.h"

namespace w2vbert {

inline constexpr std::string_view kPeftPrefix = "base_model.model.";

// adapter_model.safetensors under the names that PEFT's save_pretrained gives to the tensors of a
// bare model, which begin with kPeftPrefix: without the adapter's own name
// ("lora_A.default.weight"), without PEFT's wrapper of a module that is saved whole
// ("modules_to_save.default.weight", whose "original_module" is left out), and without those of
// torch.compile and FSDP.
class LoraTensors {
 public:
  // Throws CheckpointError for a tensor that is no adapter's, and for two of one name that differ.
  explicit LoraTensors(const std::string& path);

  const std::map<std::string, std::string>& keys() const { return keys_; }  // name -> the file's
  // Null where no tensor has that name.
  const CheckpointTensor* find(const std::string& name) const;
  at::Tensor read(const std::string& name) const { return file_.read(key_of(name)); }
  void read(const std::string& name, const at::Tensor& to) const { file_.read(key_of(name), to); }
  // What the file calls it; `name` where it does not have it.
  const std::string& key_of(const std::string& name) const;
  // What PEFT called the module of that name (without kPeftPrefix) when it looked for its targets.
  const std::string& trained_name(const std::string& module) const;

 private:
  void add(const std::string& name, const std::string& key);

  Checkpoint file_;
  std::map<std::string, std::string> keys_;
  std::map<std::string, std::string> trained_names_;  // of those that had a wrapper in their name
};

}  // namespace w2vbert
