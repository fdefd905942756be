#include "tool/tasks/state_weights.h"

#include <ATen/ATen.h>

#include <cmath>
#include <span>
#include <utility>

#include "core/file.h"
#include "core/float_types.h"
#include "core/text.h"
#include "tool/store/sha256.h"
#include "tool/tasks/npy_tensor.h"
#include "tool/tasks/option_checkpoint.h"
#include "w2vbert/core/error.h"

namespace w2vbert::tool {
namespace {

constexpr const char* kWeightsSetting = "state_weights";
constexpr std::int64_t kMaxWeights = 1 << 16;
constexpr const char* kExpectedWeights = "a vector of floats, one for each state of the sum";

at::Tensor read_tensor_of_weights(const std::string& path) {
  const Checkpoint file =
      open_checkpoint_of(kWeightsSetting, path, "a .npy or safetensors file of the weights");
  std::string name;
  if (file.tensors().size() == 1) name = file.tensors().begin()->name;
  for (const char* known : {"layer_weights", "weights"}) {
    if (name.empty() && file.find(known)) name = known;
  }
  if (name.empty()) {
    throw CheckpointError(path, "",
                          "has " + std::to_string(file.tensors().size()) +
                              " tensors, none called " + "layer_weights or weights",
                          "a tensor of the weights", kWeightsSetting);
  }
  const CheckpointTensor& tensor = *file.find(name);
  if (tensor.shape.size() != 1 || tensor.shape[0] < 1 || tensor.shape[0] > kMaxWeights) {
    throw CheckpointError(path, name, "has the shape " + shape_text(tensor.shape), kExpectedWeights,
                          kWeightsSetting);
  }
  const at::Tensor value = file.read(name);
  if (!is_plain_float(value.scalar_type())) {
    throw CheckpointError(path, name, "has dtype " + tensor.dtype_name, kExpectedWeights,
                          kWeightsSetting);
  }
  return value;
}

at::Tensor read_weights(const std::string& path) {
  if (is_directory<CheckpointError>(path) || !is_npy(path)) return read_tensor_of_weights(path);
  return read_npy(path, kWeightsSetting, kExpectedWeights, [](const NpyArray& array) {
    return array.shape.size() == 1 && array.shape[0] >= 1 && array.shape[0] <= kMaxWeights;
  });
}

}  // namespace

StateWeights::StateWeights(std::string path, bool softmax) : path_(std::move(path)) {
  at::Tensor values = read_weights(path_).contiguous();
  const at::Tensor bad = values.to(at::kFloat).isfinite().logical_not().nonzero();
  if (bad.numel() > 0) {
    const auto index = bad[0][0].item<std::int64_t>();
    throw CheckpointError(
        path_, "",
        "holds " + number_text(values[index].item<double>()) + " at index " + std::to_string(index),
        "numbers that are finite in float32", kWeightsSetting);
  }
  // The stored values count, for a softmax rounds as the CPU at hand does.
  Sha256 sha;
  const std::string how =
      std::string(at::toString(values.scalar_type())) + (softmax ? " softmax " : " as they are ");
  sha.add(std::as_bytes(std::span(how)));
  sha.add({static_cast<const std::byte*>(values.const_data_ptr()), values.nbytes()});
  digest_ = sha.hex();
  if (softmax) values = at::softmax(values, 0);
  const at::Tensor wide = values.to(at::kDouble).contiguous();
  const auto* const begin = wide.const_data_ptr<double>();
  weights_.assign(begin, begin + wide.numel());
}

std::vector<double> StateWeights::of(std::size_t states) const {
  if (weights_.size() != states) {
    throw UsageError(path_, "", "has " + std::to_string(weights_.size()) + " weights",
                     std::to_string(states) + ", one for each state of the sum", kWeightsSetting);
  }
  return weights_;
}

}  // namespace w2vbert::tool
