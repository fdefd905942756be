#include "w2vbert/audio/resample.h"

#include <torch/types.h>

#include <cmath>
#include <numbers>
#include <numeric>
#include <vector>

#include "audio/soxr_stream.h"
#include "core/mkl_vml.h"
#include "w2vbert/core/error.h"

namespace w2vbert {
namespace {

// Zero crossings on either side, and where the filter ends. torchaudio: functional.resample;
// julius: ResampleFrac.
constexpr std::int64_t kLowpassFilterWidth = 6, kJuliusZeros = 24;
constexpr double kRolloff = 0.99, kJuliusRolloff = 0.945;
// 64 MiB of float32; building it takes about ten times that.
constexpr std::int64_t kMaxSincValues = std::int64_t{1} << 24;

struct SincShape {
  std::int64_t orig_freq;  // from_hz / gcd
  std::int64_t new_freq;   // to_hz / gcd
  std::int64_t width;      // filter values before and after
  double base_freq;
};

SincShape sinc_shape(int from_hz, int to_hz, SincFilter filter) {
  const bool is_julius = filter == SincFilter::julius;
  const std::int64_t zeros = is_julius ? kJuliusZeros : kLowpassFilterWidth;
  const auto gcd = std::gcd(from_hz, to_hz);
  SincShape shape{from_hz / gcd, to_hz / gcd, 0, 0.0};
  shape.base_freq = static_cast<double>(std::min(shape.orig_freq, shape.new_freq)) *
                    (is_julius ? kJuliusRolloff : kRolloff);
  shape.width = static_cast<std::int64_t>(
      std::ceil(static_cast<double>(zeros * shape.orig_freq) / shape.base_freq));
  return shape;
}

void check_rates(int from_hz, int to_hz, const std::string& path) {
  if (from_hz >= 1 && to_hz >= 1) return;
  throw AudioError(path, "",
                   "cannot be resampled from " + std::to_string(from_hz) + " to " +
                       std::to_string(to_hz) + " Hz",
                   "rates of 1 Hz or more");
}

// torchaudio: _get_sinc_resample_kernel -> (new_freq, 1, 2 * width + orig_freq)
at::Tensor sinc_kernels(const SincShape& shape, SincFilter filter) {
  warm_up_mkl_vml();
  const bool in_float = filter == SincFilter::functional;
  const auto idx_dtype = in_float ? torch::kFloat : torch::kDouble;
  const auto idx = torch::arange(-shape.width, shape.width + shape.orig_freq, idx_dtype)
                       .view({1, 1, -1})
                       .div(shape.orig_freq);
  // With a filter in float64 torchaudio's phases are whole numbers, whose quotients have its
  // default dtype: float32 all the same.
  auto t =
      torch::arange(0, -shape.new_freq, -1, torch::kFloat).view({-1, 1, 1}) / shape.new_freq + idx;
  t.mul_(shape.base_freq).clamp_(-kLowpassFilterWidth, kLowpassFilterWidth);
  const auto window = torch::cos(t * std::numbers::pi / kLowpassFilterWidth / 2).pow(2);
  t.mul_(std::numbers::pi);
  const double scale = shape.base_freq / static_cast<double>(shape.orig_freq);
  auto kernels = torch::where(t == 0, torch::ones({}, t.options()), t.sin() / t);
  kernels.mul_(window * scale);
  return kernels.to(torch::kFloat);
}

// julius: ResampleFrac._init_kernels -> (new_freq, 1, 2 * width + orig_freq)
at::Tensor julius_kernels(const SincShape& shape) {
  warm_up_mkl_vml();
  const auto idx = torch::arange(-shape.width, shape.width + shape.orig_freq, torch::kFloat)
                       .view({1, 1, -1})
                       .div(shape.orig_freq);
  // Python divides in float64.
  const auto phases =
      torch::arange(0, -shape.new_freq, -1, torch::kDouble).view({-1, 1, 1}) / shape.new_freq;
  auto t = phases.to(torch::kFloat) + idx;
  t.mul_(shape.base_freq).clamp_(-kJuliusZeros, kJuliusZeros).mul_(std::numbers::pi);
  const auto window = torch::cos(t / kJuliusZeros / 2).pow(2);
  const auto kernels = torch::where(t == 0, torch::ones({}, t.options()), t.sin() / t) * window;
  return kernels / kernels.sum(-1, /*keepdim=*/true);
}

}  // namespace

std::vector<float> resample_soxr(std::span<const float> samples, int from_hz, int to_hz,
                                 const std::string& path) {
  check_rates(from_hz, to_hz, path);
  if (from_hz == to_hz) return {samples.begin(), samples.end()};
  SoxrStream stream(from_hz, to_hz, path);
  std::vector<float> out;
  out.reserve(SoxrStream::capacity_for(samples.size(), from_hz, to_hz));
  stream.add(samples, out);
  stream.finish(out);
  return out;
}

std::vector<float> resample_sinc(std::span<const float> samples, int from_hz, int to_hz,
                                 const std::string& path, SincFilter filter) {
  check_rates(from_hz, to_hz, path);
  if (from_hz == to_hz) return {samples.begin(), samples.end()};
  const SincShape shape = sinc_shape(from_hz, to_hz, filter);
  const std::int64_t values = shape.new_freq * (2 * shape.width + shape.orig_freq);
  if (values > kMaxSincValues) {
    throw AudioError(path, "",
                     "the sinc filter from " + std::to_string(from_hz) + " to " +
                         std::to_string(to_hz) + " Hz would have " + std::to_string(values) +
                         " values",
                     "rates with a larger common factor, or the resampler soxr");
  }
  if (samples.empty()) return {};

  const c10::InferenceMode no_graph;
  const bool is_julius = filter == SincFilter::julius;
  const auto kernels = is_julius ? julius_kernels(shape) : sinc_kernels(shape, filter);
  // torchaudio: _apply_sinc_resample_kernel
  const auto length = static_cast<std::int64_t>(samples.size());
  auto waveform =
      torch::from_blob(const_cast<float*>(samples.data()), {1, 1, length}, torch::kFloat);
  const std::vector<std::int64_t> padding = {shape.width, shape.width + shape.orig_freq};
  waveform = is_julius ? torch::replication_pad1d(waveform, padding)
                       : torch::constant_pad_nd(waveform, padding);
  auto resampled = torch::conv1d(waveform, kernels, {}, shape.orig_freq);  // (1, new_freq, N)
  resampled = resampled.transpose(1, 2).reshape({-1});                     // (N * new_freq)
  // Both round the length on its way through a float32 tensor.
  const auto quotient = static_cast<float>(static_cast<double>(shape.new_freq * length) /
                                           static_cast<double>(shape.orig_freq));
  const auto target_length =
      static_cast<std::int64_t>(is_julius ? std::floor(quotient) : std::ceil(quotient));
  const float* out = resampled.const_data_ptr<float>();
  return {out, out + std::min(target_length, resampled.size(0))};
}

}  // namespace w2vbert
