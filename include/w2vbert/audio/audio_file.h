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
    julius,          ///< julius.ResampleFrac with its defaults
  };
  enum class Channels {
    first,  ///< as HF's feature extractor
    mix,    ///< the mean of all, as librosa
    one,    ///< the one that `channel` names
  };
  static constexpr int kMaxChannels = 64;

  enum class Padding {
    none,
    /// Zeros to the next multiple of 320 samples, 320 of them where it is one; 160 on each side.
    xcodec2,
    /// Zeros to the next multiple of 320 samples, 320 of them where it is one.
    neucodec,
  };

  int target_sample_rate_hz = 16000;
  Resampler resampler = Resampler::soxr;
  /// Where audio takes a way round: first to this rate (0: not), then so many seconds of it (0:
  /// all), then to the target, then normalised and padded. Negative rates, and seconds that are
  /// negative or NaN, are an AudioError.
  int first_sample_rate_hz = 0;
  Resampler first_resampler = Resampler::soxr;
  double first_seconds = 0;
  /// (x - mean) / (std + 1e-8) over the clip, with torch.std's deviation.
  bool normalize = false;
  Padding padding = Padding::none;
  Channels channels = Channels::first;
  int channel = 1;  ///< for Channels::one, from 1; a file that does not have it is an AudioError
  /// Longer files are refused, at once where their header says it, else as soon as so much has been
  /// decoded. 0: what a quarter of the memory at hand carries, 8 GiB at most, at the file's rate.
  double max_seconds = 0;
  /// Takes of a damaged file what stands before the damage; Waveform::note says what was lost. Off:
  /// damage is an AudioError.
  bool salvage = false;
};

/// Reads `path` to its end: WAV, RF64, W64, AIFF, AU, CAF, FLAC, Ogg (Vorbis, Opus), MP3, MP2, MP1
/// or NIST SPHERE, and with libav (libav_version) MP4, QuickTime, Matroska and WebM, Windows Media,
/// AAC, AMR, AC-3, AVI, Flash video, Ogg (FLAC, Speex), WavPack and others, and encodings that
/// libsndfile does not know in WAV, W64, AIFF, AU and CAF. The kind is told by the content and
/// never by the name; 4 to 384 kHz, 1 to 64 channels. Then reduces it to one channel and resamples
/// it, with soxr while it is decoded. Throws AudioError (path, what is there, what was expected)
/// for a file of another kind, and for everything that libsndfile or libav would pass over in
/// silence: less audio than the headers announce, damaged blocks, a second stream behind the first,
/// samples that are not finite or beyond 2^15. The size of a whole RIFF, FORM or W64 file, and the
/// counts of a fact chunk or a Xing tag, are not looked at: many writers leave them wrong. Tags,
/// and zeros, before and behind a stream are passed over. What cannot be noticed: flipped bytes in
/// PCM, most of those in MP3 and other kinds without checksums, and a cut between two frames where
/// nothing says how many there are.
///
/// `progress` is called whenever the file has been read or decoded a little further; what it throws
/// ends the work. A clip may come out too short for features: see
/// SeamlessM4TFeatureExtractor::kMinSamples.
Waveform load_audio(
    const std::string& path, const AudioOptions& options = {},
    const std::function<void()>& progress = [] {});

/// The same without resampling: sample_rate_hz is the file's.
Waveform decode_audio(
    const std::string& path, const AudioOptions& options = {},
    const std::function<void()>& progress = [] {});

/// The version of libav (FFmpeg), which decodes M4A, AAC, WebM, WMA and others; "" in a build
/// without it, where such a file is an AudioError that names its kind. Its libraries are loaded
/// when they are first needed; throws AudioError where they cannot be, as such a file then does.
std::string libav_version();

/// How many channels a file has. Throws AudioError as load_audio, but for what only decoding finds.
int count_channels(const std::string& path, const AudioOptions& options = {});

/// To target_sample_rate_hz, by the way that the options say. `path` is for the AudioError that a
/// resampler may give reason for, and a waveform or a target below 1 Hz.
Waveform resample_audio(Waveform waveform, const AudioOptions& options, const std::string& path);

/// How far behind its last sample a part of a file may end: lists round the durations of whole
/// files up, to a tenth of a second at most, and some were made before an encoder cut its padding.
inline constexpr double kPartEndTolerance = 0.1;

/// `duration_seconds` from `offset_seconds` on; 0: to the end. The borders are cut down to whole
/// samples, as Python's int(seconds * rate) does. Throws AudioError(path) for a part that begins
/// behind the last sample, or ends more than kPartEndTolerance seconds behind it, for seconds that
/// are negative or NaN, and for a waveform below 1 Hz. source_samples is what the part was in the
/// file, rounded.
Waveform cut_audio(const Waveform& waveform, double offset_seconds, double duration_seconds,
                   const std::string& path);

}  // namespace w2vbert
