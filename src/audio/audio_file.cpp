#include "w2vbert/audio/audio_file.h"

#include <sndfile.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <memory>
#include <optional>
#include <sstream>
#include <string_view>

#include "audio/container.h"
#include "core/file.h"
#include "core/pairwise_sum.h"
#include "w2vbert/audio/resample.h"
#include "w2vbert/core/error.h"

namespace w2vbert {
namespace {

constexpr int kMinRateHz = 4000;
constexpr int kMaxRateHz = 384000;
constexpr int kMaxChannels = 64;
constexpr float kMaxMagnitude = 32768.0F;
constexpr sf_count_t kValuesPerRead = 16384;  // of all channels together
constexpr sf_count_t kUnknownFrames = SF_COUNT_MAX;

// --- libsndfile's virtual I/O over one file: it never sees a name, and cannot open anything ---

struct VirtualFile {
  const InputFile& file;
  const ContainerView& view;
  std::string_view prefix = {};
  std::uint64_t at = 0;
  int error = 0;  // errno of a read that failed

  std::uint64_t size() const { return prefix.size() + (view.end - view.begin); }
};

sf_count_t virtual_length(void* user) {
  return static_cast<sf_count_t>(static_cast<VirtualFile*>(user)->size());
}

sf_count_t virtual_tell(void* user) {
  return static_cast<sf_count_t>(static_cast<VirtualFile*>(user)->at);
}

sf_count_t virtual_seek(sf_count_t offset, int whence, void* user) {
  auto& self = *static_cast<VirtualFile*>(user);
  const auto size = static_cast<sf_count_t>(self.size());
  const auto base = whence == SEEK_SET ? 0 : whence == SEEK_END ? size : virtual_tell(user);
  if (offset < -base || offset > size - base) return -1;
  self.at = static_cast<std::uint64_t>(base + offset);
  return base + offset;
}

sf_count_t virtual_read(void* to, sf_count_t count, void* user) {
  auto& self = *static_cast<VirtualFile*>(user);
  auto* out = static_cast<char*>(to);
  auto wanted =
      std::min(static_cast<std::uint64_t>(std::max<sf_count_t>(count, 0)), self.size() - self.at);
  std::uint64_t done = 0;
  if (self.at < self.prefix.size()) {
    done = std::min<std::uint64_t>(wanted, self.prefix.size() - self.at);
    std::memcpy(out, self.prefix.data() + self.at, done);
  }
  while (done < wanted) {
    const std::uint64_t place = self.at + done - self.prefix.size() + self.view.begin;
    const ssize_t got =
        ::pread(self.file.descriptor(), out + done, std::min<std::uint64_t>(wanted - done, 1 << 24),
                static_cast<off_t>(place));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) self.error = errno;
    if (got <= 0) break;
    done += static_cast<std::uint64_t>(got);
  }
  self.at += done;
  return static_cast<sf_count_t>(done);
}

sf_count_t virtual_write(const void*, sf_count_t, void*) { return 0; }

SF_VIRTUAL_IO kVirtualIo = {virtual_length, virtual_seek, virtual_read, virtual_write,
                            virtual_tell};

using SoundFile = std::unique_ptr<SNDFILE, decltype(&sf_close)>;

// --- What libsndfile noted and did not report ---

std::string log_of(SNDFILE* sound) {
  std::string log(32768, '\0');
  const int length = sf_command(sound, SFC_GET_LOG_INFO, log.data(), static_cast<int>(log.size()));
  log.resize(static_cast<std::size_t>(std::clamp(length, 0, static_cast<int>(log.size()))));
  return log;
}

// The first number at or after `text`'s start, behind blanks.
std::optional<std::uint64_t> number_in(std::string_view text) {
  text.remove_prefix(std::min(text.find_first_not_of(' '), text.size()));
  std::uint64_t number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc() || end == text.data()) return std::nullopt;
  return number;
}

// The number behind `key` in `text`.
std::optional<std::uint64_t> number_after(std::string_view text, std::string_view key) {
  const auto at = text.find(key);
  return at == std::string_view::npos ? std::nullopt : number_in(text.substr(at + key.size()));
}

// "data : 1000 (should be 400)" means that 400 of the 1000 bytes announced are there.
bool is_truncated_chunk(std::string_view line) {
  const auto colon = line.find(':');
  if (colon == std::string_view::npos) return false;
  std::string_view chunk = line.substr(0, colon);
  chunk = chunk.substr(0, chunk.find_last_not_of(' ') + 1);
  chunk.remove_prefix(std::min(chunk.find_first_not_of(' '), chunk.size()));
  constexpr std::string_view kChunks[] = {"RIFF", "RIFX",      "riff", "Riff size",
                                          "data", "Data Size", "FORM", "SSND"};
  if (std::find(std::begin(kChunks), std::end(kChunks), chunk) == std::end(kChunks)) return false;
  const auto claimed = number_in(line.substr(colon + 1));
  const auto there = number_after(line, "(should be ");
  return claimed && there && *there < *claimed && *claimed < kPlaceholderBytes;
}

// A sentence about the damage that the log tells of; empty without damage.
std::string damage_in_log(std::string_view log) {
  // AIFF tells the number of frames twice.
  const auto frames_said = number_after(log, "Frame count read from 'COMM' chunk (");
  const auto frames_there = number_after(log, "calculated from length of 'SSND' chunk (");
  if (frames_said && frames_there && *frames_there < *frames_said) {
    return "is truncated: its COMM chunk says " + std::to_string(*frames_said) + " frames, " +
           std::to_string(*frames_there) + " are there";
  }
  std::istringstream lines{std::string(log)};
  for (std::string line; std::getline(lines, line);) {
    if (is_truncated_chunk(line)) return "is truncated: " + line;
    if (line.find("CRC_MISMATCH") != std::string::npos || line.find("ERROR") != std::string::npos) {
      return "is damaged: " + line;
    }
  }
  return "";
}

// libsndfile's sentence without its full stop.
std::string reason_of(const char* text) {
  std::string reason = text;
  reason.erase(reason.find_last_not_of(". \n") + 1);
  return reason;
}

std::string seconds_text(double seconds) {
  char text[32];
  std::snprintf(text, sizeof text, "%g", seconds);
  return text;
}

// Appends one value for each of the frames `begin` to `end`.
void reduce_channels(const std::vector<float>& interleaved, std::size_t begin, std::size_t end,
                     int channels, AudioOptions::Channels how, std::vector<float>& out) {
  const auto step = static_cast<std::size_t>(channels);
  for (std::size_t frame = begin; frame < end; ++frame) {
    const float* values = interleaved.data() + frame * step;
    if (how == AudioOptions::Channels::first || channels == 1) {
      out.push_back(values[0]);
    } else {
      // librosa.to_mono: numpy.mean in float32.
      out.push_back(pairwise_sum<float>(0, channels, [&](std::int64_t i) { return values[i]; }) /
                    static_cast<float>(channels));
    }
  }
}

// What the options ask of every file; `path` is the one at hand.
void check_options(const AudioOptions& options, const std::string& path) {
  const auto check_rate = [&](int rate, int least, const char* setting) {
    if (rate >= least) return;
    throw AudioError(path, setting, "is " + std::to_string(rate),
                     std::to_string(least) + " Hz or more", setting);
  };
  const auto check_seconds = [&](double seconds, const char* setting) {
    if (seconds >= 0) return;  // which NaN is not
    throw AudioError(path, setting, "is " + seconds_text(seconds), "0 seconds or more", setting);
  };
  check_rate(options.target_sample_rate_hz, 1, "target_sample_rate_hz");
  check_rate(options.first_sample_rate_hz, 0, "first_sample_rate_hz");
  check_seconds(options.first_seconds, "first_seconds");
  check_seconds(options.max_seconds, "max_seconds");
}

void check_format(const std::string& path, const SF_INFO& info, const ContainerView& view) {
  int type = info.format & SF_FORMAT_TYPEMASK;
  if (type == SF_FORMAT_WAVEX) type = SF_FORMAT_WAV;
  if (type != view.sndfile_format) throw AudioError(path, "", "is another kind of file", view.name);
  const int encoding = info.format & SF_FORMAT_SUBMASK;
  if (type == SF_FORMAT_OGG && encoding != SF_FORMAT_VORBIS && encoding != SF_FORMAT_OPUS) {
    throw AudioError(path, "", "holds another kind of Ogg stream", "Vorbis or Opus");
  }
  if (info.samplerate < kMinRateHz || info.samplerate > kMaxRateHz) {
    throw AudioError(path, "", "has " + std::to_string(info.samplerate) + " Hz",
                     std::to_string(kMinRateHz) + " to " + std::to_string(kMaxRateHz));
  }
  if (info.channels < 1 || info.channels > kMaxChannels) {
    throw AudioError(path, "", "has " + std::to_string(info.channels) + " channels",
                     "1 to " + std::to_string(kMaxChannels));
  }
}

void check_has_rate(const Waveform& waveform, const std::string& path) {
  if (waveform.sample_rate_hz >= 1) return;
  throw AudioError(path, "", "has samples at " + std::to_string(waveform.sample_rate_hz) + " Hz",
                   "1 Hz or more");
}

}  // namespace

Waveform decode_audio(const std::string& path, const AudioOptions& options,
                      const std::function<void()>& decoded_block) {
  check_options(options, path);
  const auto file = InputFile::open<AudioError>(path);
  const ContainerView view = examine_container(file);
  VirtualFile bytes{file, view};
  SF_INFO info = {};
  const auto open = [&] {
    bytes.at = 0;
    info = {};
    return SoundFile(sf_open_virtual(&kVirtualIo, SFM_READ, &info, &bytes), &sf_close);
  };
  SoundFile sound = open();
  sf_count_t skip = 0;
  const sf_count_t expected = view.frames.value_or(info.frames);
  if (sound && view.frames && info.frames < *view.frames) {
    bytes.prefix = view.length_prefix;
    skip = view.prefix_frames;
    sound.reset();
    sound = open();
  }
  const auto check_reads = [&] {
    if (bytes.error != 0) {
      throw AudioError(path, "", std::string("cannot be read: ") + std::strerror(bytes.error));
    }
  };
  check_reads();
  if (!sound) {
    throw AudioError(path, "", "cannot be decoded: " + reason_of(sf_strerror(nullptr)),
                     std::string("a valid ") + view.name + " file");
  }
  check_format(path, info, view);

  Waveform waveform;
  waveform.sample_rate_hz = waveform.source_sample_rate_hz = info.samplerate;
  waveform.source_channels = info.channels;
  waveform.container = view.name;
  const double max_frames = options.max_seconds * info.samplerate;
  const sf_count_t frames_per_read = kValuesPerRead / info.channels;
  std::vector<float> block(static_cast<std::size_t>(frames_per_read * info.channels));
  for (;;) {
    const sf_count_t frames = sf_readf_float(sound.get(), block.data(), frames_per_read);
    check_reads();
    // The next read would reset it.
    if (const int error = sf_error(sound.get()); error != SF_ERR_NO_ERROR) {
      throw AudioError(path, "",
                       "is damaged behind frame " + std::to_string(waveform.source_samples) + ": " +
                           reason_of(sf_error_number(error)),
                       "a whole file");
    }
    if (frames <= 0) break;
    decoded_block();
    const sf_count_t skipped = std::min(skip, frames);
    skip -= skipped;
    waveform.source_samples += frames - skipped;
    if (static_cast<double>(waveform.source_samples) > max_frames) {
      throw AudioError(path, "", "is longer than " + seconds_text(options.max_seconds) + " seconds",
                       "a shorter file, or a larger limit", "max_seconds");
    }
    reduce_channels(block, static_cast<std::size_t>(skipped), static_cast<std::size_t>(frames),
                    info.channels, options.channels, waveform.samples);
  }
  if (const std::string damage = damage_in_log(log_of(sound.get())); !damage.empty()) {
    throw AudioError(path, "", damage, "a whole file");
  }
  if (expected != kUnknownFrames && waveform.source_samples != expected) {
    throw AudioError(path, "",
                     "holds " + std::to_string(waveform.source_samples) +
                         " frames, its header says " + std::to_string(expected),
                     "a whole file");
  }
  if (waveform.source_samples == 0)
    throw AudioError(path, "", "holds no audio", "at least one frame");
  for (std::size_t i = 0; i < waveform.samples.size(); ++i) {
    const float sample = waveform.samples[i];
    if (!(std::abs(sample) < kMaxMagnitude)) {  // NaN fails too
      throw AudioError(path, "",
                       "has " + std::to_string(sample) + " at sample " + std::to_string(i),
                       "finite samples below 32768");
    }
  }
  file.check_unchanged();
  return waveform;
}

Waveform load_audio(const std::string& path, const AudioOptions& options) {
  return resample_audio(decode_audio(path, options), options, path);
}

Waveform resample_audio(Waveform waveform, const AudioOptions& options, const std::string& path) {
  check_options(options, path);
  check_has_rate(waveform, path);
  const auto resample = [&](int rate, AudioOptions::Resampler resampler) {
    if (waveform.sample_rate_hz == rate) return;
    const auto& samples = waveform.samples;
    switch (resampler) {
      case AudioOptions::Resampler::soxr:
        waveform.samples = resample_soxr(samples, waveform.sample_rate_hz, rate, path);
        break;
      case AudioOptions::Resampler::sinc:
        waveform.samples = resample_sinc(samples, waveform.sample_rate_hz, rate, path);
        break;
      case AudioOptions::Resampler::sinc_transform:
        waveform.samples =
            resample_sinc(samples, waveform.sample_rate_hz, rate, path, SincFilter::transform);
    }
    waveform.sample_rate_hz = rate;
  };
  if (options.first_sample_rate_hz > 0) {
    resample(options.first_sample_rate_hz, options.first_resampler);
  }
  if (options.first_seconds > 0) {
    // Compared as it is: a large or infinite number of seconds fits into no integer.
    const double wanted = options.first_seconds * waveform.sample_rate_hz;
    if (wanted < static_cast<double>(waveform.samples.size())) {
      waveform.samples.resize(static_cast<std::size_t>(wanted));
    }
  }
  resample(options.target_sample_rate_hz, options.resampler);
  if (options.padding == AudioOptions::Padding::xcodec2) {
    constexpr std::size_t kFrame = 320, kSide = 160;
    const std::size_t padded = (waveform.samples.size() / kFrame + 1) * kFrame;
    waveform.samples.resize(padded + kSide);
    waveform.samples.insert(waveform.samples.begin(), kSide, 0.0f);
  }
  return waveform;
}

Waveform cut_audio(const Waveform& waveform, double offset_seconds, double duration_seconds,
                   const std::string& path) {
  check_has_rate(waveform, path);
  const double rate = waveform.sample_rate_hz;
  const auto samples = static_cast<double>(waveform.samples.size());
  const double first = std::floor(offset_seconds * rate);
  double end = duration_seconds > 0 ? first + std::floor(duration_seconds * rate) : samples;
  // NaN fails every comparison.
  if (!(first >= 0 && first < samples && duration_seconds >= 0 && end > first &&
        end <= samples + kPartEndTolerance * rate)) {
    throw AudioError(path, "",
                     "has no part from " + seconds_text(offset_seconds) + " s" +
                         (duration_seconds == 0
                              ? ""
                              : " to " + seconds_text(offset_seconds + duration_seconds) + " s"),
                     "a part of its " + seconds_text(samples / rate) + " seconds");
  }
  end = std::min(end, samples);
  return {{waveform.samples.begin() + static_cast<std::ptrdiff_t>(first),
           waveform.samples.begin() + static_cast<std::ptrdiff_t>(end)},
          waveform.sample_rate_hz,
          waveform.source_sample_rate_hz,
          waveform.source_channels,
          static_cast<std::int64_t>(end - first),
          waveform.container};
}

}  // namespace w2vbert
