// Named tensors of a model directory, a safetensors file or a sharded checkpoint.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace w2vbert {

struct CheckpointTensor {
  std::string name;
  std::string dtype_name;  ///< as the file spells it: "F32"
  std::vector<std::int64_t> shape;
  std::string file;  ///< path of the safetensors file that holds it
  std::uint64_t bytes = 0;
};

/// Opens files and reads headers only; tensor data are read when asked for, with pread, into memory
/// of their own. Not changed by reading: several threads may read at once. Every failure is a
/// CheckpointError that names the file and the tensor.
class Checkpoint {
 public:
  /// `path`: a directory (model.safetensors, else model.safetensors.index.json with its shards), a
  /// .safetensors file, or an index (*.json). Of a sharded checkpoint each shard must hold exactly
  /// the tensors that the index gives it.
  static Checkpoint open(const std::string& path);

  Checkpoint(Checkpoint&&) noexcept;
  Checkpoint& operator=(Checkpoint&&) noexcept;
  ~Checkpoint();

  const std::string& path() const;
  /// File by file, within a file in the order of the data: the order in which to read them all.
  const std::vector<CheckpointTensor>& tensors() const;
  const CheckpointTensor* find(std::string_view name) const;
  const std::vector<std::string>& files() const;
  /// What open() saw and accepted, in sentences: an index that the single file outranks, a wrong
  /// total_size.
  const std::vector<std::string>& warnings() const;

  /// The tensor in the file's dtype and shape, on the CPU, 64-byte aligned. Throws CheckpointError
  /// for a name that is not there, a dtype that LibTorch has not (the sub-byte ones), a file that
  /// has changed since open().
  at::Tensor read(std::string_view name) const;
  /// Into `destination`, which has the same shape: any dtype, strides and device. The values are
  /// those of read(name).to(destination's dtype), rounded to nearest even. A wrong shape is a
  /// c10::ValueError.
  void read_into(std::string_view name, const at::Tensor& destination) const;
  /// Rows [first, first + count) of a tensor (rows, ...) of one dimension or more, one behind the
  /// other: the values of read(name).to(float32).
  void read_rows(std::string_view name, std::int64_t first, std::int64_t count, float* to) const;

 private:
  struct State;
  explicit Checkpoint(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

}  // namespace w2vbert
