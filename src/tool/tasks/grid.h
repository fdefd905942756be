// Rows of numbers over time, in a byte each: what a picture or a curve of a long recording needs.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace w2vbert::tool {

// Row r, column c stands for lows[r] + codes[r][c] / kMaxCode * (highs[r] - lows[r]), or for no
// finite number where the code is kNotFinite.
struct Grid {
  static constexpr std::uint8_t kMaxCode = 254;
  static constexpr std::uint8_t kNotFinite = 255;

  std::int64_t rows = 0;
  std::int64_t columns = 0;
  double seconds_per_column = 0;  // the first column begins with the clip
  std::vector<double> lows, highs;
  std::vector<std::byte> codes;  // row by row
};

// `values` (rows, T), of a float type, a column each `seconds`. With more than `max_columns` the
// columns are means of as many neighbours as it takes; the last one of what is left over.
Grid grid_of(const at::Tensor& values, double seconds, std::int64_t max_columns);

// The least and the greatest of the samples in each column: two rows.
Grid peaks_of(std::span<const float> samples, int sample_rate_hz, std::int64_t max_columns);

}  // namespace w2vbert::tool
