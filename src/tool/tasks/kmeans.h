// States -> the numbers of their nearest centres: the discrete units of HuBERT, RepCodec and
// others.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <string>
#include <vector>

namespace w2vbert::tool {

class KMeans {
 public:
  // Reads a .npy file (NumPy's format 1.0 or 2.0) of float32 or float64 centres (K, C), in C or
  // Fortran order. Throws CheckpointError with the setting "kmeans": missing, no such file,
  // truncated, of another shape than (K, `channels`), a value that is not finite, more than 2^24
  // centres.
  KMeans(const std::string& path, std::int64_t channels);

  // (T, C) -> (T) int64. scikit-learn: KMeans.predict: the first of the centres c with the smallest
  // |c|^2 - 2 x c, here in double, there in the states' type. So where scikit-learn computes in
  // float32 another centre may be as near in its arithmetic.
  at::Tensor units(const at::Tensor& states) const;

  const std::string& digest() const noexcept { return digest_; }  // SHA-256 of the values

 private:
  at::Tensor minus_twice_;  // (C, K) double: -2 centres
  at::Tensor norms_;        // (K) double
  at::Tensor first_equal_;  // (K) int64: the first centre with the same values
  std::string digest_;
};

// Runs of equal units.
struct UnitRuns {
  at::Tensor units;   // (U) int64: no two neighbours are equal
  at::Tensor counts;  // (U) int64: how many frames each has; their sum is T
};
UnitRuns unit_runs(const at::Tensor& units);  // (T) int64, on any device

}  // namespace w2vbert::tool
