// Named tensors of a model directory, a safetensors file or a sharded checkpoint.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "w2vbert/checkpoint/weight_source.h"

namespace w2vbert {

struct CheckpointTensor : WeightInfo {
  std::string name;
  std::string file;  ///< path of the safetensors file that holds it
  std::uint64_t bytes = 0;
};

/// Opens files and reads headers only; tensor data are read when asked for, with pread, into memory
/// of their own. Not changed by reading: several threads may read at once. Every failure is a
/// CheckpointError that names the file and the tensor.
class Checkpoint final : public WeightSource {
 public:
  /// `path`: a directory (model.safetensors, else model.safetensors.index.json with its shards), a
  /// .safetensors file, or an index (*.json). Of a sharded checkpoint each shard must hold exactly
  /// the tensors that the index gives it.
  static Checkpoint open(const std::string& path);

  Checkpoint(Checkpoint&&) noexcept;
  Checkpoint& operator=(Checkpoint&&) noexcept;
  ~Checkpoint() override;

  const std::string& path() const override;
  std::vector<std::string> names() const override;
  /// File by file, within a file in the order of the data: the order in which to read them all.
  const std::vector<CheckpointTensor>& tensors() const;
  const CheckpointTensor* find(std::string_view name) const override;
  const std::vector<std::string>& files() const;
  /// What open() saw and accepted, in sentences: an index that the single file outranks, a wrong
  /// total_size.
  const std::vector<std::string>& warnings() const override;

  /// The tensor in the file's dtype and shape, on the CPU, 64-byte aligned. Throws CheckpointError
  /// for a name that is not there, a dtype that LibTorch does not have (the sub-byte ones), a file
  /// that has changed since open().
  at::Tensor read(std::string_view name) const;
  void read(std::string_view name, const at::Tensor& destination) const override;
  void read_rows(std::string_view name, std::int64_t first, std::int64_t count,
                 float* to) const override;

 private:
  struct State;
  explicit Checkpoint(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

}  // namespace w2vbert
