#include "w2vbert/audio/audio_file.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <memory>
#include <optional>
#include <span>
#include <string_view>
#include <utility>

#include "audio/audio_limits.h"
#include "audio/audio_part.h"
#include "audio/channel_mean.h"
#include "audio/container.h"
#include "audio/decoder.h"
#include "audio/opened_audio.h"
#include "audio/soxr_stream.h"
#include "core/file.h"
#include "core/memory.h"
#include "w2vbert/audio/resample.h"
#include "w2vbert/core/error.h"

namespace w2vbert {
namespace {

constexpr int kMaxChannels = AudioOptions::kMaxChannels;
constexpr std::int64_t kValuesPerRead = 16384;  // of all channels together
constexpr std::int64_t kValuesPerSalvagingRead = 1024;

std::string seconds_text(double seconds) {
  char text[32];
  std::snprintf(text, sizeof text, "%g", seconds);
  return text;
}

// One value for each frame of several, in `out`.
std::span<const float> reduce_channels(std::span<const float> interleaved, int channels,
                                       const AudioOptions& options, std::vector<float>& out) {
  const auto step = static_cast<std::size_t>(channels);
  out.clear();
  for (std::size_t begin = 0; begin < interleaved.size(); begin += step) {
    const float* values = interleaved.data() + begin;
    if (options.channels == AudioOptions::Channels::one) {
      out.push_back(values[options.channel - 1]);
    } else if (options.channels == AudioOptions::Channels::first) {
      out.push_back(values[0]);
    } else {
      out.push_back(mean_of_channels(values, channels));
    }
  }
  return out;
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

void check_format(const std::string& path, const SoundFormat& format, const AudioOptions& options) {
  if (format.sample_rate_hz < kMinRateHz || format.sample_rate_hz > kMaxRateHz) {
    throw AudioError(path, "", "has " + std::to_string(format.sample_rate_hz) + " Hz",
                     std::to_string(kMinRateHz) + " to " + std::to_string(kMaxRateHz));
  }
  if (format.channels < 1 || format.channels > kMaxChannels) {
    throw AudioError(path, "", "has " + std::to_string(format.channels) + " channels",
                     "1 to " + std::to_string(kMaxChannels));
  }
  if (options.channels != AudioOptions::Channels::one) return;
  if (options.channel < 1 || options.channel > kMaxChannels) {
    throw AudioError(path, "channel", "is " + std::to_string(options.channel),
                     "1 to " + std::to_string(kMaxChannels), "channels");
  }
  if (options.channel > format.channels) {
    throw AudioError(path, "",
                     "has " + std::to_string(format.channels) +
                         (format.channels == 1 ? " channel" : " channels"),
                     "at least " + std::to_string(options.channel), "channels");
  }
}

// How long a file the memory at hand carries.
double seconds_in_memory(const AudioOptions& options, int sample_rate_hz) {
  // Counted as if one channel were kept as it is in the file, and features beside it, which take as
  // much as their samples. Other files are read at the same time, and the model wants memory.
  constexpr double kMaxBytes = 8.0 * (1 << 30);
  const double bytes = std::min(static_cast<double>(usable_memory()) / 4, kMaxBytes);
  const double samples_a_second = sample_rate_hz + 2.0 * options.target_sample_rate_hz;
  return std::floor(bytes / (samples_a_second * static_cast<double>(sizeof(float))));
}

// What was lost of a damaged file.
std::string salvage_note(const std::string& damage, const Waveform& read,
                         std::optional<std::int64_t> claimed_frames, double claimed_ratio) {
  const double rate = read.source_sample_rate_hz;
  const auto got = static_cast<double>(read.source_samples);
  double claimed = claimed_frames ? static_cast<double>(*claimed_frames) : 0.0;
  if (claimed <= got) claimed = claimed_ratio * got;
  return damage + "; " + seconds_text(got / rate) + " seconds are read, " +
         (claimed > got ? seconds_text((claimed - got) / rate) + " are lost"
                        : "how many are lost is not known");
}

// Where the samples of a file go, one channel of them, block by block.
class Samples {
 public:
  virtual ~Samples() = default;
  // `frames`: how many may come.
  virtual void begin(int sample_rate_hz, std::size_t frames) = 0;
  virtual void add(std::span<const float> block) = 0;
};

// A file that is about to be decoded, which outlives this.
struct OpenedAudio {
  OpenedAudio(const InputFile& file, const AudioOptions& options,
              const std::function<void()>& progress)
      : view(examine_container(file, progress)) {
    // What no decoder here takes is told first: nobody can use the file, whole or not.
    const bool has_decoder = !view.is_foreign || is_built_with_libav();
    if (has_decoder && !view.damage.empty() && !options.salvage) {
      throw AudioError(file.path(), "", view.damage, "a whole file");
    }
    decoder = open_decoder(file, view, progress);
    check_format(file.path(), decoder->format(), options);
  }
  OpenedAudio(const OpenedAudio&) = delete;
  OpenedAudio& operator=(const OpenedAudio&) = delete;

  ContainerView view;
  std::unique_ptr<Decoder> decoder;
};

// Everything about a file but its samples, which go to `samples`.
Waveform decode_to(Samples& samples, const InputFile& file, const AudioOptions& options,
                   const std::function<void()>& progress) {
  const std::string& path = file.path();
  check_options(options, path);
  const OpenedAudio opened(file, options, progress);
  const ContainerView& view = opened.view;
  const std::unique_ptr<Decoder>& decoder = opened.decoder;
  const SoundFormat& format = decoder->format();
  std::string damage = view.damage;
  const auto check_damage = [&damage, &path, &options] {
    if (!damage.empty() && !options.salvage) throw AudioError(path, "", damage, "a whole file");
  };

  Waveform waveform;
  waveform.sample_rate_hz = waveform.source_sample_rate_hz = format.sample_rate_hz;
  waveform.source_channels = format.channels;
  waveform.container = format.container;
  waveform.note = view.note;
  const double carried_seconds = seconds_in_memory(options, format.sample_rate_hz);
  const double max_seconds = options.max_seconds > 0 ? options.max_seconds : carried_seconds;
  const double max_frames = max_seconds * format.sample_rate_hz;
  const std::int64_t claimed = std::max<std::int64_t>(format.frames.value_or(0), 0);
  const auto check_length = [&](std::int64_t frames) {
    if (static_cast<double>(frames) <= max_frames) return;
    throw AudioError(path, "", "is longer than " + seconds_text(max_seconds) + " seconds",
                     options.max_seconds > 0
                         ? "a shorter file, or a larger limit"
                         : "a shorter file, or a limit other than that of the memory at hand",
                     "max_seconds");
  };
  if (!options.salvage) check_length(claimed);  // at once, not after hours of silence
  // A header may claim any number of frames, and a file without blocks on the disk be of any size.
  samples.begin(format.sample_rate_hz,
                static_cast<std::size_t>(
                    std::min({static_cast<double>(claimed), 8.0 * static_cast<double>(file.size()),
                              max_frames, carried_seconds * format.sample_rate_hz})));
  const std::int64_t frames_per_read = std::max<std::int64_t>(
      1, (options.salvage ? kValuesPerSalvagingRead : kValuesPerRead) / format.channels);
  std::vector<float> block(static_cast<std::size_t>(frames_per_read * format.channels));
  std::vector<float> reduced;
  for (;;) {
    const std::int64_t frames = decoder->read(block.data(), frames_per_read);
    if (const std::string found = decoder->damage(); !found.empty()) {
      if (damage.empty()) damage = found;
      check_damage();
      break;  // a decoder fills in what it cannot decode
    }
    if (frames <= 0) break;
    progress();
    const std::int64_t before = waveform.source_samples;
    waveform.source_samples += frames;
    check_length(waveform.source_samples);
    const auto decoded =
        std::span<const float>(block).first(static_cast<std::size_t>(frames * format.channels));
    const std::span<const float> one =
        format.channels == 1 ? decoded
                             : reduce_channels(decoded, format.channels, options, reduced);
    if (const auto bad = find_bad_sample(one)) {
      throw AudioError(path, "",
                       "has " + std::to_string(one[*bad]) + " at sample " +
                           std::to_string(before + static_cast<std::int64_t>(*bad)),
                       "finite samples up to 32768");
    }
    samples.add(one);
  }
  if (damage.empty() && format.frames && waveform.source_samples != *format.frames) {
    damage = (view.has_gaps ? "is damaged: pages are missing, it holds " : "holds ") +
             std::to_string(waveform.source_samples) + " frames, its " +
             (view.has_gaps ? "last page" : "header") + " says " + std::to_string(*format.frames);
    check_damage();
  }
  if (waveform.source_samples == 0) {
    throw AudioError(path, "", "holds no audio", "at least one frame");
  }
  if (!damage.empty()) {
    waveform.note = salvage_note(damage, waveform, format.frames, view.claimed_ratio);
  }
  file.check_unchanged();
  return waveform;
}

class KeptSamples : public Samples {
 public:
  void begin(int, std::size_t frames) override { kept.reserve(frames); }
  void add(std::span<const float> block) override {
    kept.insert(kept.end(), block.begin(), block.end());
  }
  std::vector<float> kept;
};

// Resamples what comes to `to_hz` on the way, so that what is kept is of that rate.
class ResampledSamples : public Samples {
 public:
  ResampledSamples(int to_hz, std::string path) : to_hz_(to_hz), path_(std::move(path)) {}
  void begin(int sample_rate_hz, std::size_t frames) override {
    if (sample_rate_hz != to_hz_) stream_.emplace(sample_rate_hz, to_hz_, path_);
    kept.reserve(SoxrStream::capacity_for(frames, sample_rate_hz, to_hz_));
  }
  void add(std::span<const float> block) override {
    if (stream_) {
      stream_->add(block, kept);
    } else {
      kept.insert(kept.end(), block.begin(), block.end());
    }
  }
  void finish() {
    if (stream_) stream_->finish(kept);
  }
  std::vector<float> kept;

 private:
  int to_hz_;
  std::string path_;
  std::optional<SoxrStream> stream_;
};

// torch: (wav - wav.mean()) / (1e-8 + wav.std()), here in float64.
void normalize(std::vector<float>& samples) {
  constexpr double kEpsilon = 1e-8;
  const auto count = static_cast<double>(samples.size());
  double sum = 0, squares = 0;
  for (const float sample : samples) sum += sample;
  const double mean = sum / count;
  for (const float sample : samples) squares += (sample - mean) * (sample - mean);
  const double deviation = samples.size() > 1 ? std::sqrt(squares / (count - 1)) : 0;
  for (float& sample : samples) {
    sample = static_cast<float>((sample - mean) / (kEpsilon + deviation));
  }
}

void check_has_rate(const Waveform& waveform, const std::string& path) {
  if (waveform.sample_rate_hz >= 1) return;
  throw AudioError(path, "", "has samples at " + std::to_string(waveform.sample_rate_hz) + " Hz",
                   "1 Hz or more");
}

}  // namespace

Waveform decode_audio(const InputFile& file, const AudioOptions& options,
                      const std::function<void()>& progress) {
  KeptSamples samples;
  Waveform waveform = decode_to(samples, file, options, progress);
  waveform.samples = std::move(samples.kept);
  return waveform;
}

Waveform load_audio(const InputFile& file, const AudioOptions& options,
                    const std::function<void()>& progress) {
  const std::string& path = file.path();
  const bool goes_round = options.first_sample_rate_hz > 0;
  const auto resampler = goes_round ? options.first_resampler : options.resampler;
  // torchaudio's filter is one product over the whole clip, and a cut before the only resampling
  // counts samples of the file.
  if (resampler != AudioOptions::Resampler::soxr || (!goes_round && options.first_seconds > 0)) {
    return resample_audio(decode_audio(file, options, progress), options, path);
  }
  const int rate = goes_round ? options.first_sample_rate_hz : options.target_sample_rate_hz;
  ResampledSamples samples(rate, path);
  Waveform waveform = decode_to(samples, file, options, progress);
  samples.finish();
  waveform.samples = std::move(samples.kept);
  waveform.sample_rate_hz = rate;
  return resample_audio(std::move(waveform), options, path);
}

Waveform decode_audio(const std::string& path, const AudioOptions& options,
                      const std::function<void()>& progress) {
  check_options(options, path);  // whether the file is there or not
  return decode_audio(InputFile::open<AudioError>(path), options, progress);
}

Waveform load_audio(const std::string& path, const AudioOptions& options,
                    const std::function<void()>& progress) {
  check_options(options, path);
  return load_audio(InputFile::open<AudioError>(path), options, progress);
}

int count_channels(const std::string& path, const AudioOptions& options) {
  check_options(options, path);
  return count_channels(InputFile::open<AudioError>(path), options);
}

int count_channels(const InputFile& file, const AudioOptions& options) {
  return OpenedAudio(file, options, [] {}).decoder->format().channels;
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
        break;
      case AudioOptions::Resampler::julius:
        waveform.samples =
            resample_sinc(samples, waveform.sample_rate_hz, rate, path, SincFilter::julius);
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
  if (options.normalize) normalize(waveform.samples);
  if (options.padding != AudioOptions::Padding::none) {
    constexpr std::size_t kFrame = 320;
    waveform.samples.resize((waveform.samples.size() / kFrame + 1) * kFrame);
  }
  if (options.padding == AudioOptions::Padding::xcodec2) {
    constexpr std::size_t kSide = 160;
    waveform.samples.resize(waveform.samples.size() + kSide);
    waveform.samples.insert(waveform.samples.begin(), kSide, 0.0f);
  }
  return waveform;
}

Waveform cut_audio(const Waveform& waveform, double offset_seconds, double duration_seconds,
                   const std::string& path) {
  check_has_rate(waveform, path);
  const double rate = waveform.sample_rate_hz;
  const auto samples = static_cast<double>(waveform.samples.size());
  const auto part = part_of_audio(samples, rate, offset_seconds, duration_seconds);
  if (!part) {
    throw AudioError(path, "",
                     "has no part from " + seconds_text(offset_seconds) + " s" +
                         (duration_seconds == 0
                              ? ""
                              : " to " + seconds_text(offset_seconds + duration_seconds) + " s"),
                     "a part of its " + seconds_text(samples / rate) + " seconds");
  }
  // At the rate of the file.
  const auto source_samples =
      std::llround((part->end - part->first) / rate * waveform.source_sample_rate_hz);
  return {{waveform.samples.begin() + static_cast<std::ptrdiff_t>(part->first),
           waveform.samples.begin() + static_cast<std::ptrdiff_t>(part->end)},
          waveform.sample_rate_hz,
          waveform.source_sample_rate_hz,
          waveform.source_channels,
          source_samples,
          waveform.container,
          waveform.note};
}

}  // namespace w2vbert
