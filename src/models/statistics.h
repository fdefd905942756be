// The mean and the variance of states, by which SemanticEncoder and others normalise them.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <optional>

namespace w2vbert {

enum class Statistic { mean, variance };

struct BadStatistic {
  std::int64_t index;
  double value;
};

// The first value of `values` (C) that makes nothing of (x - mean) / sqrt(variance): NaN, an
// infinity, or a variance below the smallest normal float32.
std::optional<BadStatistic> find_bad_statistic(const at::Tensor& values, Statistic statistic);

// What is expected instead: "finite numbers ...".
const char* expected_values(Statistic statistic);

}  // namespace w2vbert
