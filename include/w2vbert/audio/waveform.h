#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace w2vbert {

// One channel of sound, and what its file said of itself.
struct Waveform {
  std::vector<float> samples;  // -1..1
  int sample_rate_hz = 0;
  int source_rate = 0;  // Hz, before resampling
  int source_channels = 0;
  std::int64_t source_frames = 0;  // samples a channel
  std::string container;           // "WAV", "FLAC", ...
};

}  // namespace w2vbert
