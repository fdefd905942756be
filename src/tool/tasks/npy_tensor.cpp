#include "tool/tasks/npy_tensor.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <optional>

#include "core/file.h"
#include "core/text.h"
#include "w2vbert/core/error.h"

namespace w2vbert::tool {
namespace {

std::optional<NpyArray> read_head(const InputFile& file) {
  std::string head(static_cast<std::size_t>(std::min<std::uint64_t>(file.size(), kMaxNpyHeadBytes)),
                   '\0');
  file.read_at(0, head.data(), head.size());
  return read_npy_head(head);
}

std::optional<at::ScalarType> dtype_of_descr(const std::string& descr) {
  if (descr == "<f2") return at::kHalf;
  if (descr == "<f4") return at::kFloat;
  if (descr == "<f8") return at::kDouble;
  return std::nullopt;
}

}  // namespace

at::Tensor read_npy(const std::string& path, const char* setting, const std::string& expected,
                    const std::function<bool(const NpyArray&)>& fits) {
  const auto refuse = [&](const std::string& problem, const std::string& instead) {
    throw CheckpointError(path, "", problem, instead, setting);
  };
  const auto file = InputFile::open<CheckpointError>(path);
  const auto array = read_head(file);
  if (!array) refuse("is no .npy file", expected);
  const auto dtype = dtype_of_descr(array->descr);
  if (!dtype || !fits(*array)) {
    refuse("has the type " + quote_bytes(array->descr, 20) + " and the shape " +
               shape_text(array->shape),
           expected);
  }
  std::uint64_t bytes = c10::elementSize(*dtype);
  for (const std::int64_t size : array->shape) bytes *= static_cast<std::uint64_t>(size);
  if (file.size() - array->data_offset != bytes) {
    refuse("has " + std::to_string(file.size() - array->data_offset) + " bytes of values",
           std::to_string(bytes) + " for the shape " + shape_text(array->shape));
  }
  std::vector<std::int64_t> shape = array->shape;
  if (array->fortran_order) std::reverse(shape.begin(), shape.end());
  at::Tensor stored = at::empty(shape, *dtype);
  file.read_at(array->data_offset, stored.mutable_data_ptr(), bytes);
  if (!array->fortran_order) return stored;
  std::vector<std::int64_t> order(shape.size());
  for (std::size_t i = 0; i < order.size(); ++i) {
    order[i] = static_cast<std::int64_t>(order.size() - 1 - i);
  }
  return stored.permute(order).contiguous();
}

bool is_npy(const std::string& path) {
  constexpr std::string_view kMagic = "\x93NUMPY";
  const auto file = InputFile::open<CheckpointError>(path);
  std::string begin(static_cast<std::size_t>(std::min<std::uint64_t>(file.size(), kMagic.size())),
                    '\0');
  file.read_at(0, begin.data(), begin.size());
  return begin == kMagic;
}

}  // namespace w2vbert::tool
