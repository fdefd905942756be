#include "features/mel_scale.h"

#include <cmath>
#include <cstddef>
#include <cstdint>

namespace w2vbert {
namespace {

constexpr double kMinFrequency = 20.0;  // Hz

}  // namespace

double hertz_to_mel(double frequency) { return 1127.0 * std::log(1.0 + frequency / 700.0); }
double mel_to_hertz(double mel) { return 700.0 * (std::exp(mel / 1127.0) - 1.0); }

std::vector<double> mel_edges(const SeamlessM4TFeatureExtractorConfig& config) {
  const double low = hertz_to_mel(kMinFrequency);
  const std::int64_t max_frequency = config.sampling_rate / 2;  // HF: sampling_rate // 2
  const double high = hertz_to_mel(static_cast<double>(max_frequency));
  std::vector<double> edges(static_cast<std::size_t>(config.num_mel_bins) + 2);
  const double step = (high - low) / static_cast<double>(config.num_mel_bins + 1);
  for (std::size_t i = 0; i < edges.size(); ++i) {  // numpy.linspace
    edges[i] = static_cast<double>(i) * step + low;
  }
  edges.back() = high;
  return edges;
}

}  // namespace w2vbert
