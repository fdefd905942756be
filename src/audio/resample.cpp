#include "w2vbert/audio/resample.h"

#include <soxr.h>
#include <torch/torch.h>

#include <cmath>
#include <numbers>
#include <numeric>

#include "w2vbert/core/error.h"

namespace w2vbert {
namespace {

constexpr std::int64_t kMaxSincTaps = std::int64_t{1} << 26;  // 256 MiB of float32

}  // namespace

std::vector<float> resample_soxr(const std::vector<float>& samples, int from_hz, int to_hz,
                                 const std::string& path) {
  const double ratio = static_cast<double>(to_hz) / from_hz;
  const auto length = static_cast<std::size_t>(std::ceil(static_cast<double>(samples.size()) * ratio));
  // soxr may give one sample more than that.
  std::vector<float> out(length + 1);
  std::size_t done = 0;
  const auto io = soxr_io_spec(SOXR_FLOAT32_I, SOXR_FLOAT32_I);
  const auto quality = soxr_quality_spec(SOXR_HQ, 0);
  const auto runtime = soxr_runtime_spec(1);
  const char* error = soxr_oneshot(from_hz, to_hz, 1, samples.data(), samples.size(), nullptr,
                                   out.data(), out.size(), &done, &io, &quality, &runtime);
  if (error) throw AudioError(path, "", std::string("cannot be resampled: ") + error);
  out.resize(done);
  out.resize(length);  // librosa: fix_length
  return out;
}

std::vector<float> resample_sinc(const std::vector<float>& samples, int from_hz, int to_hz,
                                 const std::string& path) {
  constexpr std::int64_t kLowpassFilterWidth = 6;
  constexpr double kRolloff = 0.99;
  const auto gcd = std::gcd(from_hz, to_hz);
  const std::int64_t orig = from_hz / gcd;
  const std::int64_t target = to_hz / gcd;
  const double base = static_cast<double>(std::min(orig, target)) * kRolloff;
  const auto width = static_cast<std::int64_t>(
      std::ceil(static_cast<double>(kLowpassFilterWidth * orig) / base));
  if (target * (2 * width + orig) > kMaxSincTaps) {
    throw AudioError(path, "",
                     "the sinc filter from " + std::to_string(from_hz) + " to " +
                         std::to_string(to_hz) + " Hz would have " +
                         std::to_string(target * (2 * width + orig)) + " taps",
                     "rates with a larger common factor, or --resampler soxr");
  }

  const c10::InferenceMode no_graph;
  const auto doubles = torch::TensorOptions(torch::kDouble);
  // torchaudio: _get_sinc_resample_kernel
  const auto idx = torch::arange(-width, width + orig, doubles).view({1, 1, -1}) / orig;
  auto t = torch::arange(0, -target, -1, torch::kLong).view({-1, 1, 1}) / target + idx;
  t = (t * base).clamp_(-kLowpassFilterWidth, kLowpassFilterWidth);
  const auto window = torch::cos(t * std::numbers::pi / kLowpassFilterWidth / 2).square();
  t = t * std::numbers::pi;
  const double scale = base / static_cast<double>(orig);
  auto kernels = torch::where(t == 0, torch::ones({}, doubles), t.sin() / t);
  kernels = (kernels * (window * scale)).to(torch::kFloat);

  // torchaudio: _apply_sinc_resample_kernel
  const auto length = static_cast<std::int64_t>(samples.size());
  auto waveform = torch::from_blob(const_cast<float*>(samples.data()), {1, 1, length});
  waveform = torch::constant_pad_nd(waveform, {width, width + orig});
  auto resampled = torch::conv1d(waveform, kernels, {}, orig);      // (1, target, N)
  resampled = resampled.transpose(1, 2).reshape({-1});
  // A Python float on its way through a float32 tensor.
  const auto quotient =
      static_cast<float>(static_cast<double>(target * length) / static_cast<double>(orig));
  const auto target_length = static_cast<std::int64_t>(std::ceil(quotient));
  resampled = resampled.narrow(0, 0, std::min(target_length, resampled.size(0))).contiguous();
  const float* values = resampled.const_data_ptr<float>();
  return {values, values + resampled.numel()};
}

}  // namespace w2vbert
