// A look at every tensor of a checkpoint, and at what a model directory lacks.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "w2vbert/checkpoint/checkpoint.h"
#include "w2vbert/checkpoint/load.h"

namespace w2vbert::tool {

struct InspectedTensor {
  CheckpointTensor tensor;
  std::uint64_t elements = 0;
  std::uint64_t not_finite = 0;  // NaN or infinite values of a F16, BF16, F32 or F64 tensor
};

struct Inspection {
  std::string path;
  std::vector<std::string> files;
  std::vector<InspectedTensor> tensors;
  std::uint64_t elements = 0;
  std::uint64_t bytes = 0;  // of tensor data
  std::map<std::string, std::uint64_t> elements_by_dtype;
  std::vector<std::string> warnings;
  // For a model directory: against the tree that its config.json asks for, of the class that
  // architectures[0] names, or of Wav2Vec2BertModel where that is not known.
  std::optional<LoadReport> comparison;
  std::string compared_with;
  std::vector<std::string> architectures;

  bool complete() const { return !comparison || comparison->complete(); }
};

// `path`: a model directory or Hub id, a .safetensors file, or an index. Reads every byte of tensor
// data once, in blocks: the memory needed does not grow with the tensors. `progress` gets the bytes
// read so far and in all. Throws CheckpointError, ConfigError; a directory whose tensors do not
// match its config is no exception but `comparison`.
Inspection inspect(const std::string& path, const LoadOptions& options = {},
                   const std::function<void(std::uint64_t, std::uint64_t)>& progress = {});

}  // namespace w2vbert::tool
