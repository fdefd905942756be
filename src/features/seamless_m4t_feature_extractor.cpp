#include "w2vbert/features/seamless_m4t_feature_extractor.h"

#include <ATen/Parallel.h>
#include <torch/torch.h>

#include <algorithm>
#include <cmath>
#include <numbers>

namespace w2vbert {
namespace {

constexpr std::int64_t kFrameLength = 400;  // samples
constexpr std::int64_t kHopLength = 160;
constexpr std::int64_t kFftLength = 512;
constexpr std::int64_t kBins = kFftLength / 2 + 1;
constexpr double kPreemphasis = 0.97;
constexpr double kMinFrequency = 20.0;  // Hz
constexpr double kMelFloor = 1.192092955078125e-07;
constexpr float kVarianceFloor = 1e-7F;
constexpr float kSampleScale = 32768.0F;  // Kaldi: 16-bit integers
constexpr std::int64_t kFramesPerBlock = 128;

// numpy's pairwise summation (numpy/_core/src/umath/loops_utils.h.src): its order decides the last
// bits of HF's means and variances.
template <typename Value, typename Element>
Value pairwise_sum(std::int64_t begin, std::int64_t count, const Element& element) {
  if (count < 8) {
    Value sum = Value(-0.0);
    for (std::int64_t i = 0; i < count; ++i) sum += element(begin + i);
    return sum;
  }
  if (count <= 128) {
    Value sums[8];
    for (int k = 0; k < 8; ++k) sums[k] = element(begin + k);
    std::int64_t i = 8;
    for (; i < count - count % 8; i += 8) {
      for (int k = 0; k < 8; ++k) sums[k] += element(begin + i + k);
    }
    Value sum = ((sums[0] + sums[1]) + (sums[2] + sums[3])) +
                ((sums[4] + sums[5]) + (sums[6] + sums[7]));
    for (; i < count; ++i) sum += element(begin + i);
    return sum;
  }
  std::int64_t half = count / 2;
  half -= half % 8;
  return pairwise_sum<Value>(begin, half, element) +
         pairwise_sum<Value>(begin + half, count - half, element);
}

double hertz_to_mel(double frequency) { return 1127.0 * std::log(1.0 + frequency / 700.0); }

// HF: window_function(400, "povey", periodic=False), which numpy makes of np.hanning.
std::vector<double> povey_window() {
  std::vector<double> window(kFrameLength);
  for (std::int64_t i = 0; i < kFrameLength; ++i) {
    const auto n = static_cast<double>(1 - kFrameLength + 2 * i);
    const double hann = 0.5 + 0.5 * std::cos(std::numbers::pi * n / (kFrameLength - 1));
    window[static_cast<std::size_t>(i)] = std::pow(hann, 0.85);
  }
  return window;
}

std::int64_t round_up(std::int64_t value, std::int64_t multiple) {
  return multiple > 0 ? (value + multiple - 1) / multiple * multiple : value;
}

// One frame of samples, 16-bit scale -> what is transformed. HF: the loop of spectrogram().
void prepare_frame(const float* samples, const std::vector<double>& window, double* out) {
  const auto sample = [&](std::int64_t i) {
    return static_cast<double>(samples[i] * kSampleScale);
  };
  const double mean = pairwise_sum<double>(0, kFrameLength, sample) / kFrameLength;
  double before = sample(0) - mean;
  out[0] = before * (1 - kPreemphasis) * window[0];
  for (std::int64_t i = 1; i < kFrameLength; ++i) {
    const double centred = sample(i) - mean;
    out[i] = (centred - kPreemphasis * before) * window[static_cast<std::size_t>(i)];
    before = centred;
  }
  std::fill(out + kFrameLength, out + kFftLength, 0.0);
}

// Zero mean and unit variance over the frames of each mel bin, as numpy computes them in float32.
void normalize_per_mel_bins(at::Tensor& features) {
  const auto frames = features.size(1);
  at::parallel_for(0, features.size(0), 8, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t mel = begin; mel < end; ++mel) {
      float* row = features.mutable_data_ptr<float>() + mel * frames;
      const auto count = static_cast<float>(frames);
      const float mean =
          pairwise_sum<float>(0, frames, [&](std::int64_t i) { return row[i]; }) / count;
      const float squares = pairwise_sum<float>(0, frames, [&](std::int64_t i) {
        const float centred = row[i] - mean;
        return centred * centred;
      });
      const float variance = squares / static_cast<float>(std::max<std::int64_t>(frames - 1, 0));
      const float deviation = std::sqrt(variance + kVarianceFloor);
      for (std::int64_t i = 0; i < frames; ++i) row[i] = (row[i] - mean) / deviation;
    }
  });
}

}  // namespace

SeamlessM4TFeatureExtractor::SeamlessM4TFeatureExtractor(SeamlessM4TFeatureExtractorConfig config)
    : config_(std::move(config)), window_(povey_window()) {
  config_.validate();
  // HF: mel_filter_bank(norm=None, mel_scale="kaldi", triangularize_in_mel_space=True).
  const auto mels = config_.num_mel_bins;
  const double low = hertz_to_mel(kMinFrequency);
  const double high = hertz_to_mel(static_cast<double>(config_.sampling_rate / 2));
  std::vector<double> edges(static_cast<std::size_t>(mels) + 2);
  const double step = (high - low) / static_cast<double>(mels + 1);  // numpy.linspace
  for (std::size_t i = 0; i < edges.size(); ++i) edges[i] = static_cast<double>(i) * step + low;
  edges.back() = high;
  const double bin_width = static_cast<double>(config_.sampling_rate) / kFftLength;
  for (std::size_t mel = 0; mel < static_cast<std::size_t>(mels); ++mel) {
    MelFilter filter;
    for (std::int64_t bin = 0; bin < kBins; ++bin) {
      const double position = hertz_to_mel(bin_width * static_cast<double>(bin));
      const double down = -(edges[mel] - position) / (edges[mel + 1] - edges[mel]);
      const double up = (edges[mel + 2] - position) / (edges[mel + 2] - edges[mel + 1]);
      const double weight = std::max(0.0, std::min(down, up));
      if (weight > 0.0) {
        if (filter.weights.empty()) filter.first_bin = bin;
        filter.weights.push_back(weight);
      } else if (!filter.weights.empty()) {
        break;  // a triangle has one stretch of bins
      }
    }
    mel_filters_.push_back(std::move(filter));
  }
}

SeamlessM4TFeatureExtractor SeamlessM4TFeatureExtractor::from_pretrained(
    const std::string& directory) {
  return SeamlessM4TFeatureExtractor(SeamlessM4TFeatureExtractorConfig::from_pretrained(directory));
}

at::Tensor SeamlessM4TFeatureExtractor::log_mel(const std::vector<float>& clip) const {
  const auto samples = static_cast<std::int64_t>(clip.size());
  TORCH_CHECK_VALUE(samples >= kFrameLength - kHopLength, "clips: ", samples,
                    " samples, expected at least ", kFrameLength - kHopLength);
  const auto frames = (samples - kFrameLength + kHopLength) / kHopLength;
  const auto mels = config_.num_mel_bins;
  auto features = at::empty({mels, frames}, at::kFloat);
  float* const out = features.mutable_data_ptr<float>();

  const auto blocks = (frames + kFramesPerBlock - 1) / kFramesPerBlock;
  at::parallel_for(0, blocks, 1, [&](std::int64_t first_block, std::int64_t last_block) {
    const c10::InferenceMode no_graph;
    const auto buffer = at::empty({kFramesPerBlock, kFftLength}, at::kDouble);
    const auto energies = at::empty({kFramesPerBlock, mels}, at::kDouble);
    double* const samples_of = buffer.mutable_data_ptr<double>();
    double* const energies_of = energies.mutable_data_ptr<double>();
    for (std::int64_t block = first_block; block < last_block; ++block) {
      const auto first = block * kFramesPerBlock;
      const auto count = std::min(kFramesPerBlock, frames - first);
      for (std::int64_t i = 0; i < count; ++i) {
        prepare_frame(clip.data() + (first + i) * kHopLength, window_, samples_of + i * kFftLength);
      }
      const auto transform = at::fft_rfft(buffer.narrow(0, 0, count)).contiguous();
      const auto* values = transform.const_data_ptr<c10::complex<double>>();
      for (std::int64_t i = 0; i < count; ++i) {
        mel_energies(values + i * kBins, energies_of + i * mels);
      }
      energies.log_();
      for (std::int64_t mel = 0; mel < mels; ++mel) {
        for (std::int64_t i = 0; i < count; ++i) {
          out[mel * frames + first + i] = static_cast<float>(energies_of[i * mels + mel]);
        }
      }
    }
  });
  return features;
}

void SeamlessM4TFeatureExtractor::mel_energies(const c10::complex<double>* transform,
                                               double* energies) const {
  double power[kBins];
  for (std::int64_t bin = 0; bin < kBins; ++bin) {
    // HF keeps the transform in complex64. The square of its magnitude is then exact enough in float64
    // without the root and the square in between.
    const double real = static_cast<float>(transform[bin].real());
    const double imag = static_cast<float>(transform[bin].imag());
    power[bin] = real * real + imag * imag;
  }
  for (const MelFilter& filter : mel_filters_) {
    const double* bins = power + filter.first_bin;
    double sum = 0.0;
    for (std::size_t k = 0; k < filter.weights.size(); ++k) sum += bins[k] * filter.weights[k];
    *energies++ = sum < kMelFloor ? kMelFloor : sum;  // NaN stays NaN, as with numpy.maximum
  }
}

SeamlessM4TFeatureExtractor::Features SeamlessM4TFeatureExtractor::operator()(
    const std::vector<std::vector<float>>& clips, const Options& options) const {
  TORCH_CHECK_VALUE(!clips.empty(), "clips: none, expected at least one");
  const c10::InferenceMode no_graph;
  std::vector<at::Tensor> features;  // (mels, frames) each
  std::int64_t longest = 0;
  const auto max_length = options.max_length
                              ? std::optional(round_up(*options.max_length, options.pad_to_multiple_of))
                              : std::nullopt;
  for (const auto& clip : clips) {
    auto one = log_mel(clip);
    if (options.do_normalize_per_mel_bins) normalize_per_mel_bins(one);
    if (options.truncation) {
      TORCH_CHECK_VALUE(max_length, "max_length: none, expected a length to truncate to");
      one = one.narrow(1, 0, std::min(one.size(1), *max_length));
    }
    longest = std::max(longest, one.size(1));
    features.push_back(one);
  }
  std::int64_t padded = longest;
  if (options.padding == Padding::kLongest) {
    padded = round_up(longest, options.pad_to_multiple_of);
  } else if (options.padding == Padding::kMaxLength) {
    TORCH_CHECK_VALUE(max_length, "max_length: none, expected a length to pad to");
    padded = std::max(longest, *max_length);
  }
  for (const auto& one : features) {
    TORCH_CHECK_VALUE(one.size(1) == padded || options.padding != Padding::kDoNotPad,
                      "clips: different lengths without padding, expected one length");
    TORCH_CHECK_VALUE(options.padding != Padding::kMaxLength || one.size(1) <= *max_length ||
                          features.size() == 1,
                      "clips: longer than max_length, expected truncation or shorter clips");
  }

  const auto batch = static_cast<std::int64_t>(clips.size());
  const auto mels = config_.num_mel_bins;
  const auto stride = config_.stride;
  auto frames = at::full({batch, padded, mels}, config_.padding_value, at::kFloat);
  auto mask = at::zeros({batch, padded}, at::kLong);
  for (std::int64_t row = 0; row < batch; ++row) {
    const auto& one = features[static_cast<std::size_t>(row)];
    frames[row].narrow(0, 0, one.size(1)).copy_(one.t());  // (mels, frames) -> (frames, mels)
    mask[row].narrow(0, 0, one.size(1)).fill_(1);
  }
  const auto rows = padded / stride;  // what is left over is cut
  Features result;
  result.input_features =
      frames.narrow(1, 0, rows * stride).reshape({batch, rows, mels * stride}).clone();
  // HF: the frames whose index modulo stride is 1, so none at all with stride 1.
  result.attention_mask =
      stride == 1 ? at::zeros({batch, 0}, at::kLong)
                  : mask.narrow(1, 0, rows * stride).view({batch, rows, stride}).select(2, 1).clone();
  return result;
}

}  // namespace w2vbert
