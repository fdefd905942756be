// The two resamplers that people feed this model with. Torch-free header.
#pragma once

#include <span>
#include <string>
#include <vector>

namespace w2vbert {

/// librosa.resample(samples, orig_sr=from_hz, target_sr=to_hz) of librosa >= 0.10: soxr HQ in one
/// go, then cut or filled with a zero to ceil(samples * to_hz / from_hz). `path` is for the
/// AudioError that soxr may give reason for, and rates below 1 Hz.
std::vector<float> resample_soxr(std::span<const float> samples, int from_hz, int to_hz,
                                 const std::string& path);

/// torchaudio computes its filter in the waveform's dtype in functional.resample, and in float64 in
/// transforms.Resample; the results differ by about 1e-6. julius.ResampleFrac has a longer one, of
/// 24 zero crossings with a rolloff of 0.945 and a sum of 1, goes on with the first and the last
/// sample at the ends, and rounds the length down.
enum class SincFilter { functional, transform, julius };

/// torchaudio.functional.resample(samples, from_hz, to_hz) (or transforms.Resample) with its
/// defaults: sinc_interp_hann, lowpass_filter_width 6, rolloff 0.99; or
/// julius.ResampleFrac(from_hz, to_hz)(samples). The filter bank has from_hz * to_hz / gcd^2 values
/// or a few more: rates without a common factor need gigabytes, and more than 2^24 values (44,101
/// to 16,000 Hz has 706 million) are an AudioError naming `path`, as are rates below 1 Hz.
std::vector<float> resample_sinc(std::span<const float> samples, int from_hz, int to_hz,
                                 const std::string& path,
                                 SincFilter filter = SincFilter::functional);

}  // namespace w2vbert
