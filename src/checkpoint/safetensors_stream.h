// A safetensors file whose tensors come one after the other: more of them than memory holds.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "checkpoint/safetensors_header.h"
#include "checkpoint/safetensors_header_writer.h"
#include "core/durable_file.h"

namespace w2vbert {

class SafetensorsStream {
 public:
  // Keeps `header_bytes` free at the file's begin for the header (serialize_safetensors_header of
  // the longest one there may be). What is not needed of them becomes spaces. Throws StorageError,
  // here and below.
  SafetensorsStream(const std::string& path, std::uint64_t header_bytes);

  // The data lie in the order of the calls, without gaps: it is the caller's task that each tensor
  // begins at a multiple of its element size. `tensor` is dense, contiguous and on the CPU; throws
  // c10::ValueError for any other.
  void add(const std::string& name, const at::Tensor& tensor);
  // Uses the name, dtype_name and shape of `tensor`; `data` are its bytes.
  void add(const TensorInfo& tensor, std::span<const std::byte> data);

  // Writes the header and puts the file in its place, as UnfinishedFile::commit_in_place_of(). To
  // be called once, as the last. Throws CheckpointError as serialize_safetensors_header.
  Committed commit(const SafetensorsMetadata& metadata,
                   const std::optional<FileIdentity>& in_place_of,
                   const std::function<void()>& last_look = {},
                   const FinishHeader& finish_header = {});

 private:
  UnfinishedFile file_;
  std::uint64_t header_bytes_;
  std::uint64_t data_bytes_ = 0;
  std::vector<TensorInfo> tensors_;
};

}  // namespace w2vbert
