// What another engine computed: tensors by the engine's own names.
#pragma once

#include <torch/types.h>

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "tool/parity/reference.h"

namespace w2vbert::tool {

class Dump {
 public:
  // A .safetensors file; a .npy file, whose tensor has the file's name; or a directory with such
  // .npy files, where a folder's name stands before a slash. Throws CheckpointError.
  static Dump open(const std::string& path);

  const std::string& path() const { return path_; }
  std::vector<std::string> names() const;  // sorted
  bool has(const std::string& name) const;
  torch::Tensor read(const std::string& name) const;  // of any dtype; throws CheckpointError
  // What a safetensors file says of itself ("engine", "dtype", ...); empty for .npy files.
  const Settings& settings() const { return settings_; }

 private:
  explicit Dump(std::string path) : path_(std::move(path)) {}

  std::string path_;
  std::shared_ptr<const Checkpoint> tensors_;  // of a safetensors file
  std::map<std::string, std::string> files_;   // name -> path of its .npy file
  Settings settings_;
};

}  // namespace w2vbert::tool
