#include "w2vbert/audio/audio_file.h"

#include <fcntl.h>
#include <sndfile.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <memory>
#include <optional>
#include <string_view>

#include "w2vbert/audio/resample.h"
#include "w2vbert/core/error.h"
#include "w2vbert/core/file.h"

namespace w2vbert {
namespace {

constexpr int kMinRateHz = 4000;
constexpr int kMaxRateHz = 384000;
constexpr int kMaxChannels = 64;
constexpr float kMaxMagnitude = 32768.0F;
constexpr sf_count_t kFramesPerRead = 65536;
constexpr sf_count_t kUnknownFrames = SF_COUNT_MAX;
// A writer that streams does not know the length yet and leaves a number of this size or more.
constexpr std::uint64_t kPlaceholderBytes = 0x7ffff000;
constexpr const char* kExpectedAudio = "WAV, RF64, W64, AIFF, AU, CAF, FLAC, Ogg or MP3";

struct Container {
  int format;
  const char* name;
};
constexpr std::array kContainers = {
    Container{SF_FORMAT_WAV, "WAV"},   Container{SF_FORMAT_WAVEX, "WAV"},
    Container{SF_FORMAT_RF64, "RF64"}, Container{SF_FORMAT_W64, "W64"},
    Container{SF_FORMAT_AIFF, "AIFF"}, Container{SF_FORMAT_AU, "AU"},
    Container{SF_FORMAT_CAF, "CAF"},   Container{SF_FORMAT_FLAC, "FLAC"},
    Container{SF_FORMAT_OGG, "Ogg"},   Container{SF_FORMAT_MPEG, "MP3"},
};

using SoundFile = std::unique_ptr<SNDFILE, decltype(&sf_close)>;

std::string log_of(SNDFILE* sound) {
  std::string log(16384, '\0');
  const int length = sf_command(sound, SFC_GET_LOG_INFO, log.data(), static_cast<int>(log.size()));
  log.resize(static_cast<std::size_t>(std::max(0, length)));
  return log;
}

std::optional<std::uint64_t> number_at(std::string_view text) {
  std::uint64_t number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc() || end == text.data()) return std::nullopt;
  return number;
}

// "data : 1000 (should be 400)" means that the file holds 400 of the 1000 bytes that it announces.
bool is_truncated_chunk(std::string_view line) {
  constexpr std::string_view kShouldBe = "(should be ";
  const auto remark = line.find(kShouldBe);
  const auto colon = line.find(':');
  if (remark == std::string_view::npos || colon == std::string_view::npos) return false;
  std::string_view chunk = line.substr(0, colon);
  chunk = chunk.substr(0, chunk.find_last_not_of(' ') + 1);
  chunk.remove_prefix(std::min(chunk.find_first_not_of(' '), chunk.size()));
  if (chunk != "RIFF" && chunk != "RIFX" && chunk != "data" && chunk != "FORM" && chunk != "SSND") {
    return false;
  }
  std::string_view claimed_text = line.substr(colon + 1);
  claimed_text.remove_prefix(std::min(claimed_text.find_first_not_of(' '), claimed_text.size()));
  const auto claimed = number_at(claimed_text);
  const auto there = number_at(line.substr(remark + kShouldBe.size()));
  return claimed && there && *there < *claimed && *claimed < kPlaceholderBytes;
}

// What libsndfile noted about a damaged file and did not report; empty when there is nothing.
std::string damage_in_log(const std::string& log) {
  std::string_view rest = log;
  while (!rest.empty()) {
    const auto end = std::min(rest.find('\n'), rest.size());
    const std::string_view line = rest.substr(0, end);
    rest.remove_prefix(std::min(end + 1, rest.size()));
    if (is_truncated_chunk(line)) return "is truncated: " + std::string(line);
    if (line.find("CRC_MISMATCH") != std::string_view::npos ||
        line.find("LOST_SYNC") != std::string_view::npos ||
        line.find("ERROR") != std::string_view::npos) {
      return "is damaged: " + std::string(line);
    }
  }
  return "";
}

const char* container_name(int format) {
  for (const auto& container : kContainers) {
    if ((format & SF_FORMAT_TYPEMASK) == container.format) return container.name;
  }
  return nullptr;
}

// One value a frame out of `channels`.
void reduce_channels(const std::vector<float>& interleaved, std::size_t frames, int channels,
                     AudioOptions::Channels how, std::vector<float>& out) {
  const auto step = static_cast<std::size_t>(channels);
  for (std::size_t frame = 0; frame < frames; ++frame) {
    const float* values = interleaved.data() + frame * step;
    float value = values[0];
    if (how == AudioOptions::Channels::mix && channels > 1) {
      for (std::size_t channel = 1; channel < step; ++channel) value += values[channel];
      value /= static_cast<float>(channels);  // numpy.mean in float32
    }
    out.push_back(value);
  }
}

}  // namespace

Waveform decode_audio(const std::string& path, const AudioOptions& options) {
  const auto file = InputFile::open<AudioError>(path);
  if (file.size() == 0) throw AudioError(path, "", "is empty", kExpectedAudio);
  SF_INFO info = {};
  // By descriptor: a name such as x.gsm must not make audio out of any bytes. libsndfile closes its
  // own copy.
  const int descriptor = ::fcntl(file.descriptor(), F_DUPFD_CLOEXEC, 3);
  const SoundFile sound(
      descriptor < 0 ? nullptr : sf_open_fd(descriptor, SFM_READ, &info, SF_TRUE), &sf_close);
  if (!sound) {
    std::string reason = sf_strerror(nullptr);
    reason.erase(reason.find_last_not_of(". \n") + 1);
    throw AudioError(path, "", "cannot be decoded: " + reason, kExpectedAudio);
  }
  const char* container = container_name(info.format);
  if (!container) throw AudioError(path, "", "is another kind of file", kExpectedAudio);
  if (info.samplerate < kMinRateHz || info.samplerate > kMaxRateHz) {
    throw AudioError(path, "", "has " + std::to_string(info.samplerate) + " Hz",
                     std::to_string(kMinRateHz) + " to " + std::to_string(kMaxRateHz));
  }
  if (info.channels < 1 || info.channels > kMaxChannels) {
    throw AudioError(path, "", "has " + std::to_string(info.channels) + " channels",
                     "1 to " + std::to_string(kMaxChannels));
  }

  Waveform waveform;
  waveform.sample_rate_hz = waveform.source_rate = info.samplerate;
  waveform.source_channels = info.channels;
  waveform.container = container;
  const double max_frames = options.max_seconds * info.samplerate;
  std::vector<float> block(static_cast<std::size_t>(kFramesPerRead * info.channels));
  for (;;) {
    const sf_count_t frames = sf_readf_float(sound.get(), block.data(), kFramesPerRead);
    // The next read would reset it.
    if (const int error = sf_error(sound.get()); error != SF_ERR_NO_ERROR) {
      throw AudioError(path, "",
                       std::string("is damaged after ") + std::to_string(waveform.source_frames) +
                           " frames: " + sf_error_number(error));
    }
    if (frames <= 0) break;
    waveform.source_frames += frames;
    if (static_cast<double>(waveform.source_frames) > max_frames) {
      throw AudioError(path, "",
                       "is longer than " + std::to_string(std::llround(options.max_seconds)) +
                           " seconds",
                       "a shorter file, or a larger --max-seconds");
    }
    reduce_channels(block, static_cast<std::size_t>(frames), info.channels, options.channels,
                    waveform.samples);
  }
  if (const std::string damage = damage_in_log(log_of(sound.get())); !damage.empty()) {
    throw AudioError(path, "", damage, "a whole file");
  }
  if (waveform.source_frames == 0) throw AudioError(path, "", "holds no audio", "at least one frame");
  if (info.frames != kUnknownFrames && waveform.source_frames != info.frames) {
    throw AudioError(path, "",
                     "holds " + std::to_string(waveform.source_frames) + " frames, its header says " +
                         std::to_string(info.frames),
                     "a whole file");
  }
  for (const float sample : waveform.samples) {
    if (!(std::abs(sample) < kMaxMagnitude)) {  // NaN fails too
      throw AudioError(path, "", "has a sample of " + std::to_string(sample),
                       "finite samples below 32768");
    }
  }
  file.check_unchanged();
  return waveform;
}

Waveform load_audio(const std::string& path, const AudioOptions& options) {
  Waveform waveform = decode_audio(path, options);
  const int target = options.target_sample_rate_hz;
  if (waveform.sample_rate_hz != target) {
    const auto resample =
        options.resampler == AudioOptions::Resampler::soxr ? resample_soxr : resample_sinc;
    waveform.samples = resample(waveform.samples, waveform.sample_rate_hz, target, path);
    waveform.sample_rate_hz = target;
  }
  return waveform;
}

}  // namespace w2vbert
