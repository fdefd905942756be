#include "tool/run/windows.h"

#include <algorithm>
#include <cmath>

namespace w2vbert::tool {

std::vector<Window> windows_of(std::int64_t samples, const Windows& how, std::int64_t min_samples) {
  if (!how.on()) return {{0, samples, 0, 0}};
  std::vector<Window> windows;
  const std::int64_t step = how.samples - how.left - how.right;
  for (std::int64_t begin = 0; begin < samples; begin += step) {
    const std::int64_t end = std::min(begin + how.samples, samples);
    const bool is_last = begin + how.samples >= samples;
    const Window window{begin, end, begin == 0 ? 0 : how.left, is_last ? 0 : how.right};
    // The first one is refused where features are made, if it is too short.
    const bool is_long_enough = end - begin > window.left && end - begin >= min_samples;
    if (is_long_enough || windows.empty()) windows.push_back(window);
    if (is_last) break;
  }
  return windows;
}

Kept kept_rows(const Window& window, std::int64_t rows, double samples_per_row) {
  // Python's round(): half to even, as the default rounding mode has it.
  const auto rounded = [](double value) {
    return static_cast<std::int64_t>(std::nearbyint(value));
  };
  const auto samples = static_cast<double>(window.end - window.begin);
  const std::int64_t all = rounded(samples * (1 / samples_per_row));
  const auto part = [&](std::int64_t of) {
    return rounded(static_cast<double>(of) / samples * static_cast<double>(all));
  };
  // Python's slices end where the rows do.
  const std::int64_t end = std::min(all - part(window.right), rows);
  return {std::min(part(window.left), std::max<std::int64_t>(end, 0)),
          std::max<std::int64_t>(end, 0)};
}

}  // namespace w2vbert::tool
