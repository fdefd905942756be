// One channel of sound. Torch-free.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace w2vbert {

/// The samples, and what their file was before it was reduced to one channel and resampled.
struct Waveform {
  std::vector<float> samples;     ///< (S), -1..1 where the file does not go beyond
  int sample_rate_hz = 0;         ///< of `samples`
  int source_sample_rate_hz = 0;  ///< of the file
  int source_channels = 0;
  std::int64_t source_samples = 0;  ///< of each channel of the file
  /// "WAV", "RF64", "W64", "AIFF", "AU", "CAF", "FLAC", "Ogg", "MP3", "MP2", "MP1", "SPHERE"; with
  /// libav also "MP4", "QuickTime", "Matroska", "ASF", "AMR", "AC-3", "AAC", "AVI", "FLV",
  /// "WavPack", "APE", "Musepack", "TTA", "TAK", "DSF", "DSDIFF", "SHN", "RealMedia"
  std::string container;
  std::string note;  ///< what was odd about the file, or lost (AudioOptions::salvage); mostly ""
};

}  // namespace w2vbert
