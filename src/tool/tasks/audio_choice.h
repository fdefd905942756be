// How audio is asked to be read, in words: --channels and --resampler. Torch-free.
#pragma once

#include <string>

#include "w2vbert/audio/audio_file.h"

namespace w2vbert::tool {

// AudioOptions::channel where each channel is a clip of its own, whose number the input list knows.
inline constexpr int kEachChannel = 0;

struct ChannelChoice {
  AudioOptions::Channels channels = AudioOptions::Channels::first;
  int channel = 1;  // for Channels::one, from 1, or kEachChannel

  bool operator==(const ChannelChoice&) const = default;
};

enum class EachChannel { allowed, refused };
// "first", "second", "mean" (also "mix"), "each" where that is allowed, or a number from 1. Throws
// UsageError.
ChannelChoice parse_channels(const std::string& text, EachChannel each);
// What parse_channels() takes for the same.
std::string channels_name(const AudioOptions& audio);

// "soxr" or "sinc". Throws UsageError.
AudioOptions::Resampler parse_resampler(const std::string& text);
// The same back, and what presets have beside them.
std::string resampler_name(AudioOptions::Resampler resampler);

}  // namespace w2vbert::tool
