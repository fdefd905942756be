// Which samples of a file a part of it is. Torch-free.
#pragma once

#include <algorithm>
#include <cmath>
#include <optional>

#include "w2vbert/audio/audio_file.h"

namespace w2vbert {

// In samples of each channel; whole numbers.
struct AudioPart {
  double first = 0;
  double end = 0;
};

// The part that cut_audio() takes of a file of so many samples; nothing where it throws.
inline std::optional<AudioPart> part_of_audio(double samples, double sample_rate_hz,
                                              double offset_seconds, double duration_seconds) {
  const double first = std::floor(offset_seconds * sample_rate_hz);
  const double end =
      duration_seconds > 0 ? first + std::floor(duration_seconds * sample_rate_hz) : samples;
  // NaN fails every comparison.
  if (!(first >= 0 && first < samples && duration_seconds >= 0 && end > first &&
        end <= samples + kPartEndTolerance * sample_rate_hz)) {
    return std::nullopt;
  }
  return AudioPart{first, std::min(end, samples)};
}

}  // namespace w2vbert
