#include "models/statistics.h"

#include <ATen/ATen.h>

#include <limits>

namespace w2vbert {

std::optional<BadStatistic> find_bad_statistic(const at::Tensor& values, Statistic statistic) {
  at::Tensor bad = values.isfinite().logical_not();
  if (statistic == Statistic::variance) {
    bad = bad.logical_or(values.to(at::kDouble).lt(std::numeric_limits<float>::min()));
  }
  const at::Tensor places = bad.nonzero();
  if (places.numel() == 0) return {};
  const auto index = places[0][0].item<std::int64_t>();
  return BadStatistic{index, values[index].item<double>()};
}

const char* expected_values(Statistic statistic) {
  return statistic == Statistic::mean ? "finite numbers" : "finite numbers of at least 1.18e-38";
}

}  // namespace w2vbert
