#include "tool/tasks/kmeans.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cstddef>
#include <span>

#include "core/file.h"
#include "core/text.h"
#include "tool/store/npy_header.h"
#include "tool/store/sha256.h"
#include "w2vbert/core/error.h"

namespace w2vbert::tool {
namespace {

constexpr const char* kSetting = "kmeans";
constexpr std::int64_t kMaxCentres = std::int64_t{1} << 24;
constexpr std::int64_t kRowsAtOnce = 4096;  // of which the distances are made

[[noreturn]] void refuse(const std::string& path, const std::string& problem,
                         const std::string& expected) {
  throw CheckpointError(path, "", problem, expected, kSetting);
}

at::Tensor read_centres(const std::string& path, std::int64_t channels) {
  const std::string expected =
      "a .npy file of float32 or float64 centres of shape (K, " + std::to_string(channels) +
      "), as scripts/convert_kmeans.py makes one of joblib's and fairseq's";
  const auto file = InputFile::open<CheckpointError>(path);
  std::string head(static_cast<std::size_t>(std::min<std::uint64_t>(file.size(), kMaxNpyHeadBytes)),
                   '\0');
  file.read_at(0, head.data(), head.size());
  const auto array = read_npy_head(head);
  if (!array) refuse(path, "is no .npy file", expected);
  const bool is_wide = array->descr == "<f8";
  const bool fits = (is_wide || array->descr == "<f4") && array->shape.size() == 2 &&
                    array->shape[0] > 0 && array->shape[0] <= kMaxCentres &&
                    array->shape[1] == channels;
  if (!fits) {
    refuse(path,
           "has the type " + quote_bytes(array->descr, 20) + " and the shape " +
               shape_text(array->shape),
           expected);
  }
  const std::uint64_t bytes = static_cast<std::uint64_t>(array->shape[0]) *
                              static_cast<std::uint64_t>(channels) * (is_wide ? 8 : 4);
  if (file.size() - array->data_offset != bytes) {
    refuse(path, "has " + std::to_string(file.size() - array->data_offset) + " bytes of values",
           std::to_string(bytes) + " for the shape " + shape_text(array->shape));
  }
  std::vector<std::int64_t> shape = array->shape;
  if (array->fortran_order) std::swap(shape[0], shape[1]);
  const at::Tensor stored = at::empty(shape, is_wide ? at::kDouble : at::kFloat);
  file.read_at(array->data_offset, stored.mutable_data_ptr(), bytes);
  const at::Tensor centres =
      (array->fortran_order ? stored.t() : stored).to(at::kDouble).contiguous();
  if (!centres.isfinite().all().item<bool>()) {
    refuse(path, "has a value that is not finite", "finite ones");
  }
  return centres;
}

}  // namespace

KMeans::KMeans(const std::string& path, std::int64_t channels) {
  const at::Tensor centres = read_centres(path, channels);
  Sha256 sha;
  sha.add(std::span(static_cast<const std::byte*>(centres.const_data_ptr()), centres.nbytes()));
  digest_ = sha.hex();
  norms_ = centres.square().sum(1);
  minus_twice_ = (-2 * centres).t();
}

at::Tensor KMeans::units(const at::Tensor& states) const {
  const at::Tensor norms = norms_.to(states.device());
  const at::Tensor minus_twice = minus_twice_.to(states.device());
  std::vector<at::Tensor> units;
  for (const at::Tensor& rows : states.split(kRowsAtOnce)) {
    units.push_back(at::addmm(norms, rows.to(at::kDouble), minus_twice).argmin(1));
  }
  return at::cat(units);
}

UnitRuns unit_runs(const at::Tensor& units) {
  const auto [kept, inverse, counts] = at::unique_consecutive(units, false, true);
  (void)inverse;
  return {kept, counts};
}

}  // namespace w2vbert::tool
