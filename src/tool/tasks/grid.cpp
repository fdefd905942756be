#include "tool/tasks/grid.h"

#include <ATen/ATen.h>

#include <algorithm>

namespace w2vbert::tool {
namespace {

// How many neighbours make one of `max_columns` columns at most.
std::int64_t neighbours_of(std::int64_t values, std::int64_t max_columns) {
  return std::max<std::int64_t>(1, (values + max_columns - 1) / max_columns);
}

// (rows, T) -> (rows, ceil(T / n)): `reduce` of each n neighbours, (rows, columns, n) -> (rows,
// columns).
template <class Reduce>
at::Tensor columns_of(const at::Tensor& values, std::int64_t n, const Reduce& reduce) {
  const std::int64_t whole = values.size(1) / n;
  std::vector<at::Tensor> columns;
  if (whole > 0) {
    columns.push_back(reduce(values.narrow(1, 0, whole * n).reshape({values.size(0), whole, n})));
  }
  if (const std::int64_t left = values.size(1) - whole * n; left > 0) {
    columns.push_back(reduce(values.narrow(1, whole * n, left).unsqueeze(1)));
  }
  return at::cat(columns, 1);
}

Grid coded(const at::Tensor& values, double seconds_per_column) {
  const at::Tensor wide = values.to(at::kDouble);  // (rows, columns)
  const at::Tensor is_finite = wide.isfinite();
  Grid grid;
  grid.rows = wide.size(0);
  grid.columns = wide.size(1);
  grid.seconds_per_column = seconds_per_column;
  for (std::int64_t row = 0; row < grid.rows; ++row) {
    const at::Tensor finite = wide[row].masked_select(is_finite[row]);
    const bool has_values = finite.numel() > 0;
    const double low = has_values ? finite.min().item<double>() : 0;
    const double high = has_values ? finite.max().item<double>() : 0;
    grid.lows.push_back(low);
    grid.highs.push_back(high);
    const double scale = high > low ? Grid::kMaxCode / (high - low) : 0;
    const at::Tensor codes = at::where(is_finite[row], ((wide[row] - low) * scale).round(),
                                       static_cast<double>(Grid::kNotFinite))
                                 .to(at::kByte)
                                 .contiguous();
    const auto* const begin =
        reinterpret_cast<const std::byte*>(codes.const_data_ptr<std::uint8_t>());
    grid.codes.insert(grid.codes.end(), begin, begin + grid.columns);
  }
  return grid;
}

}  // namespace

Grid grid_of(const at::Tensor& values, double seconds, std::int64_t max_columns) {
  const std::int64_t n = neighbours_of(values.size(1), max_columns);
  const at::Tensor means =
      columns_of(values.to(at::kDouble), n, [](const at::Tensor& of) { return of.mean(-1); });
  return coded(means, seconds * static_cast<double>(n));
}

Grid peaks_of(std::span<const float> samples, int sample_rate_hz, std::int64_t max_columns) {
  const auto count = static_cast<std::int64_t>(samples.size());
  const std::int64_t n = neighbours_of(count, max_columns);
  // from_blob asks for data that may be written; nothing writes them.
  const at::Tensor values =
      at::from_blob(const_cast<float*>(samples.data()), {1, count}, at::kFloat);
  const at::Tensor least = columns_of(values, n, [](const at::Tensor& of) { return of.amin(-1); });
  const at::Tensor greatest =
      columns_of(values, n, [](const at::Tensor& of) { return of.amax(-1); });
  return coded(at::cat({least, greatest}), static_cast<double>(n) / sample_rate_hz);
}

}  // namespace w2vbert::tool
