// Where weights come from: one interface for files and for loaded modules.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

namespace torch::nn {
class Module;
}

namespace w2vbert {

struct WeightInfo {
  std::string dtype_name;  ///< as safetensors spells it: "F32"
  std::vector<std::int64_t> shape;
};

/// Named tensors, wherever they lie: a Checkpoint, a checkpoint under a module's names
/// (MatchedWeights), the parameters of a module (ModuleWeights). Reading changes nothing: several
/// threads may read at once. A name that is not there, and what goes wrong with a file, is a
/// CheckpointError; a destination of another shape and rows that the tensor does not have are a
/// c10::ValueError.
class WeightSource {
 public:
  virtual ~WeightSource() = default;

  /// The name that errors give the source: a file's or directory's path, or a module's class.
  virtual const std::string& path() const = 0;
  /// In the order in which reading them all is fastest: a file's names by their place in it.
  virtual std::vector<std::string> names() const = 0;
  /// Null for a name that is not there. Lives as long as the source.
  virtual const WeightInfo* find(std::string_view name) const = 0;
  /// Into `destination`, which has the same shape: any dtype, strides and device. The values are
  /// converted to its dtype, rounded to nearest even.
  virtual void read(std::string_view name, const at::Tensor& destination) const = 0;
  /// Rows [first, first + count) of a tensor (rows, ...) of one dimension or more, as the values
  /// that read() gives a float32 destination. `to` has room for count times a row's number of
  /// values; the rows are written there contiguously.
  virtual void read_rows(std::string_view name, std::int64_t first, std::int64_t count,
                         float* to) const = 0;
  /// What was unusual, and was accepted, when the source was opened: a sentence each.
  virtual const std::vector<std::string>& warnings() const;

 protected:
  WeightSource() = default;
  WeightSource(const WeightSource&) = default;
  WeightSource(WeightSource&&) = default;
  WeightSource& operator=(const WeightSource&) = default;
  WeightSource& operator=(WeightSource&&) = default;
};

/// The parameters and persistent buffers of a module, under the names of its state_dict(). It
/// shares their memory: what is written to them later is read.
class ModuleWeights final : public WeightSource {
 public:
  explicit ModuleWeights(const torch::nn::Module& module);
  /// The same of tensors that lie elsewhere, such as in a module of PyTorch's: `path` is the name
  /// that errors give them.
  ModuleWeights(std::string path, const std::vector<std::pair<std::string, at::Tensor>>& tensors);

  /// The module's class, or the path that was given.
  const std::string& path() const override { return path_; }
  std::vector<std::string> names() const override { return names_; }
  const WeightInfo* find(std::string_view name) const override;
  void read(std::string_view name, const at::Tensor& destination) const override;
  void read_rows(std::string_view name, std::int64_t first, std::int64_t count,
                 float* to) const override;

 private:
  struct Entry {
    WeightInfo info;
    at::Tensor tensor;
  };
  const Entry& entry_of(std::string_view name) const;

  std::string path_;
  std::vector<std::string> names_;
  std::unordered_map<std::string, Entry> entries_;
};

}  // namespace w2vbert
