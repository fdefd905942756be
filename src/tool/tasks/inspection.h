// A look at every tensor of a checkpoint, and at what a model directory lacks.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "checkpoint/checkpoint_files.h"
#include "w2vbert/checkpoint/load.h"

namespace w2vbert::tool {

struct Inspection {
  std::string path;
  // The tensors, as their headers name them: a million of them in lists of their own would take
  // several times the memory.
  std::shared_ptr<const CheckpointFiles> files;
  // NaN or infinite values of each F16, BF16, F32 or F64 tensor, file by file.
  std::vector<std::uint64_t> not_finite;
  std::uint64_t elements = 0;
  std::uint64_t bytes = 0;  // of tensor data
  std::map<std::string, std::uint64_t, std::less<>> elements_by_dtype;
  // For a model directory: against the tree that its config.json asks for, of the class that
  // architectures[0] names, or of Wav2Vec2BertModel where that is not known.
  std::optional<LoadReport> comparison;
  std::string compared_with;
  std::vector<std::string> architectures;

  bool complete() const { return !comparison || comparison->complete(); }

  // Calls `use(file, tensor, not_finite)` for each tensor, file by file, within a file in the order
  // of the data.
  template <typename Use>
  void for_each_tensor(const Use& use) const {
    std::size_t i = 0;
    for (const CheckpointFiles::File& file : files->files()) {
      for (const HeaderTensor& tensor : file.header.tensors) {
        use(file.file.path(), tensor, not_finite[i++]);
      }
    }
  }
};

// `path`: a model directory or Hub id, a .safetensors file, or an index. Reads every byte of tensor
// data once, in blocks: the memory needed does not grow with the tensors. `progress` gets the bytes
// read so far and in all. Throws CheckpointError, ConfigError; a directory whose tensors do not
// match its config, read as that release of transformers does, is no exception but `comparison`.
Inspection inspect(const std::string& path, const LoadOptions& options = {},
                   HfVersion hf_version = kNewestHfVersion,
                   const std::function<void(std::uint64_t, std::uint64_t)>& progress = {});

}  // namespace w2vbert::tool
