#include "tool/tasks/kmeans.h"

#include <ATen/ATen.h>

#include <cstddef>
#include <span>

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
