// Audio files -> waveforms: whole and undamaged, or an error. Torch-free.
#pragma once

#include <functional>
#include <string>

#include "w2vbert/audio/waveform.h"

namespace w2vbert {

struct AudioOptions {
  enum class Resampler {
    soxr,            ///< soxr HQ, what librosa >= 0.10 does
    sinc,            ///< torchaudio.functional.resample with its defaults
    sinc_transform,  ///< torchaudio.transforms.Resample with its defaults
  };
  enum class Channels {
    first,  ///< as HF's feature extractor
    mix,    ///< the mean of all, as librosa
  };

  enum class Padding {
    none,
    /// Zeros to the next multiple of 320 samples, 320 of them where it is one; 160 on each side.
    xcodec2,
  };

  int target_sample_rate_hz = 16000;
  Resampler resampler = Resampler::soxr;
  /// Where audio takes a way round: first to this rate (0: not), then so many seconds of it (0:
  /// all), then to the target, then padded. Negative rates, and seconds that are negative or NaN,
  /// are an AudioError.
  int first_sample_rate_hz = 0;
  Resampler first_resampler = Resampler::soxr;
  double first_seconds = 0;
  Padding padding = Padding::none;
  Channels channels = Channels::first;
  double max_seconds = 4 * 3600.0;  ///< longer files are refused
};

/// Reads `path` to its end: WAV, RF64, W64, AIFF, AU, CAF, FLAC, Ogg (Vorbis, Opus) or MP3, told by
/// its content and never by its name, 4 to 384 kHz, 1 to 64 channels; then reduces it to one
/// channel and resamples it. Throws AudioError (path, what is there, what was expected) for a file
/// of another kind, and for everything that libsndfile would pass over in silence: less audio
/// than the headers announce, damaged blocks, a second stream behind the first, samples that are
/// not finite or not below 2^15. What cannot be noticed: flipped bytes in PCM and most of those in
/// MP3.
///
/// A clip may come out too short for features: see SeamlessM4TFeatureExtractor::kMinSamples.
Waveform load_audio(const std::string& path, const AudioOptions& options = {});

/// The same without resampling: sample_rate_hz is the file's. `decoded_block` is called now and
/// then, whenever the decoder has given something.
Waveform decode_audio(
    const std::string& path, const AudioOptions& options = {},
    const std::function<void()>& decoded_block = [] {});

/// To target_sample_rate_hz, by the way that the options say. `path` is for the AudioError that a
/// resampler may give reason for, and a waveform or a target below 1 Hz.
Waveform resample_audio(Waveform waveform, const AudioOptions& options, const std::string& path);

/// How far behind its last sample a part of a file may end: lists round the durations of whole
/// files up, to a tenth of a second at most, and some were made before an encoder cut its padding.
inline constexpr double kPartEndTolerance = 0.1;

/// `duration_seconds` from `offset_seconds` on; 0: to the end. The borders are cut down to whole
/// samples, as Python's int(seconds * rate) does. Throws AudioError(path) for a part that begins
/// behind the last sample, or ends more than kPartEndTolerance seconds behind it, for seconds that
/// are negative or NaN, and for a waveform below 1 Hz.
Waveform cut_audio(const Waveform& waveform, double offset_seconds, double duration_seconds,
                   const std::string& path);

}  // namespace w2vbert
