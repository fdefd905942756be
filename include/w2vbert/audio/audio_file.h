// Audio files -> waveforms: whole and undamaged, or an error.
#pragma once

#include <string>

#include "w2vbert/audio/waveform.h"

namespace w2vbert {

struct AudioOptions {
  enum class Resampler {
    soxr,  // soxr HQ, what librosa >= 0.10 does
    sinc,  // torchaudio.functional.resample with its defaults
  };
  enum class Channels {
    first,  // as HF's feature extractor
    mix,    // the mean of all, as librosa
  };

  int target_sample_rate_hz = 16000;
  Resampler resampler = Resampler::soxr;
  Channels channels = Channels::first;
  double max_seconds = 4 * 3600.0;  // longer files are refused
};

// Reads `path` to its end: WAV, RF64, W64, AIFF, AU, CAF, FLAC, Ogg (Vorbis, Opus) or MP3, told by its
// content and never by its name, 4 to 384 kHz, 1 to 64 channels; then reduces it to one channel and
// resamples it. Throws AudioError for everything that libsndfile would pass over in silence: fewer
// frames than the header says, damaged blocks, samples that are not finite or not below 2^15.
Waveform load_audio(const std::string& path, const AudioOptions& options = {});

// The same without resampling.
Waveform decode_audio(const std::string& path, const AudioOptions& options = {});

}  // namespace w2vbert
