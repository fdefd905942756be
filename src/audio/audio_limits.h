// What audio may be, wherever it comes from. Torch-free.
#pragma once

#include <cmath>
#include <cstddef>
#include <optional>
#include <span>

namespace w2vbert {

inline constexpr int kMinRateHz = 4000;
inline constexpr int kMaxRateHz = 384000;
inline constexpr float kMaxMagnitude = 32768.0F;

// The first sample that is not finite or beyond kMaxMagnitude.
inline std::optional<std::size_t> find_bad_sample(std::span<const float> samples) {
  for (std::size_t i = 0; i < samples.size(); ++i) {
    if (!(std::abs(samples[i]) <= kMaxMagnitude)) return i;  // which NaN is not
  }
  return std::nullopt;
}

}  // namespace w2vbert
