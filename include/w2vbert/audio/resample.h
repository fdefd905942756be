#pragma once

#include <string>
#include <vector>

namespace w2vbert {

// librosa.resample(samples, orig_sr=from_hz, target_sr=to_hz): soxr HQ, cut or filled with zeros to
// ceil(samples * to / from). `path` is for the AudioError that soxr may give reason for.
std::vector<float> resample_soxr(const std::vector<float>& samples, int from_hz, int to_hz,
                                 const std::string& path);

// torchaudio.functional.resample(samples, from_hz, to_hz) with its defaults: windowed sinc (Hann),
// width 6, rolloff 0.99. The filter has (from * to) / gcd^2 taps or more; rates that share no factor
// would need gigabytes and are an AudioError naming `path`.
std::vector<float> resample_sinc(const std::vector<float>& samples, int from_hz, int to_hz,
                                 const std::string& path);

}  // namespace w2vbert
