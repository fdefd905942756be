// The mean of a frame's channels. Torch-free.
#pragma once

#include <cstdint>

#include "core/pairwise_sum.h"

namespace w2vbert {

// librosa.to_mono: numpy.mean in float32, of the `channels` values of one frame.
inline float mean_of_channels(const float* values, int channels) {
  return pairwise_sum<float>(0, channels, [&](std::int64_t i) { return values[i]; }) /
         static_cast<float>(channels);
}

}  // namespace w2vbert
