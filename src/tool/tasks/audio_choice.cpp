#include "tool/tasks/audio_choice.h"

#include "core/parse_number.h"
#include "core/text.h"
#include "w2vbert/core/error.h"

namespace w2vbert::tool {

ChannelChoice parse_channels(const std::string& text, EachChannel each) {
  using Channels = AudioOptions::Channels;
  if (text == "first" || text == "1") return {Channels::first};
  if (text == "mean" || text == "mix") return {Channels::mix};
  if (text == "second") return {Channels::one, 2};
  if (text == "each" && each == EachChannel::allowed) return {Channels::one, kEachChannel};
  const auto number = parse_number<int>(text);
  if (number && *number > 1 && *number <= AudioOptions::kMaxChannels &&
      std::to_string(*number) == text) {
    return {Channels::one, *number};
  }
  throw UsageError("", "channels", in_quotes(text) + " is unknown",
                   std::string("first, second, mean, ") +
                       (each == EachChannel::allowed ? "each " : "") + "or a number from 1 to " +
                       std::to_string(AudioOptions::kMaxChannels),
                   "channels");
}

std::string channels_name(const AudioOptions& audio) {
  switch (audio.channels) {
    case AudioOptions::Channels::first:
      return "first";
    case AudioOptions::Channels::mix:
      return "mix";
    default:
      return audio.channel == kEachChannel ? "each" : std::to_string(audio.channel);
  }
}

AudioOptions::Resampler parse_resampler(const std::string& text) {
  if (text == "soxr") return AudioOptions::Resampler::soxr;
  if (text == "sinc") return AudioOptions::Resampler::sinc;
  throw UsageError("", "resampler", in_quotes(text) + " is unknown", "soxr or sinc", "resampler");
}

std::string resampler_name(AudioOptions::Resampler resampler) {
  switch (resampler) {
    case AudioOptions::Resampler::soxr:
      return "soxr";
    case AudioOptions::Resampler::sinc:
      return "sinc";
    case AudioOptions::Resampler::julius:
      return "julius";
    default:
      return "sinc_transform";
  }
}

}  // namespace w2vbert::tool
