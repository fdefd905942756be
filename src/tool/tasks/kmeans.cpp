#include "tool/tasks/kmeans.h"

#include <ATen/ATen.h>

#include <cstddef>
#include <map>
#include <span>
#include <string_view>

#include "tool/store/sha256.h"
#include "tool/tasks/npy_tensor.h"
#include "w2vbert/core/error.h"

namespace w2vbert::tool {
namespace {

constexpr const char* kSetting = "kmeans";
constexpr std::int64_t kMaxCentres = std::int64_t{1} << 24;
constexpr std::int64_t kRowsAtOnce = 4096;  // of which the distances are made

at::Tensor read_centres(const std::string& path, std::int64_t channels) {
  const at::Tensor centres =
      read_npy(path, kSetting,
               "a .npy file of float32 or float64 centres of shape (K, " +
                   std::to_string(channels) +
                   "), as scripts/convert_kmeans.py makes one of joblib's and fairseq's",
               [&](const NpyArray& array) {
                 return (array.descr == "<f4" || array.descr == "<f8") && array.shape.size() == 2 &&
                        array.shape[0] > 0 && array.shape[0] <= kMaxCentres &&
                        array.shape[1] == channels;
               })
          .to(at::kDouble);
  if (!centres.isfinite().all().item<bool>()) {
    throw CheckpointError(path, "", "has a value that is not finite", "finite ones", kSetting);
  }
  return centres;
}

}  // namespace

KMeans::KMeans(const std::string& path, std::int64_t channels) {
  const at::Tensor centres = read_centres(path, channels);
  Sha256 sha;
  sha.add(std::span(static_cast<const std::byte*>(centres.const_data_ptr()), centres.nbytes()));
  digest_ = sha.hex();
  // What a product gives for equal columns depends on where they stand.
  std::map<std::string_view, std::int64_t> firsts;
  first_equal_ = at::arange(centres.size(0));
  const auto bytes_of_one = static_cast<std::size_t>(centres.size(1)) * sizeof(double);
  const at::Tensor without_minus_zero = centres + 0.0;
  const auto* const bytes = static_cast<const char*>(without_minus_zero.const_data_ptr());
  for (std::int64_t i = 0; i < centres.size(0); ++i) {
    const std::string_view one(bytes + static_cast<std::size_t>(i) * bytes_of_one, bytes_of_one);
    first_equal_[i] = firsts.emplace(one, i).first->second;
  }
  norms_ = centres.square().sum(1);
  minus_twice_ = (-2 * centres).t();
}

at::Tensor KMeans::units(const at::Tensor& states) const {
  const at::Tensor norms = norms_.to(states.device());
  const at::Tensor minus_twice = minus_twice_.to(states.device());
  const at::Tensor first_equal = first_equal_.to(states.device());
  std::vector<at::Tensor> units;
  for (const at::Tensor& rows : states.split(kRowsAtOnce)) {
    const at::Tensor nearest = at::addmm(norms, rows.to(at::kDouble), minus_twice).argmin(1);
    units.push_back(first_equal.index_select(0, nearest));
  }
  return at::cat(units);
}

UnitRuns unit_runs(const at::Tensor& units) {
  const auto [kept, inverse, counts] = at::unique_consecutive(units, false, true);
  (void)inverse;
  return {kept, counts};
}

}  // namespace w2vbert::tool
