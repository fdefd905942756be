#include "w2vbert/features/seamless_m4t_feature_extractor.h"

#include <ATen/Parallel.h>
#include <torch/types.h>
#include <torch/utils.h>

#include <algorithm>
#include <cmath>
#include <numbers>

#include "core/pairwise_sum.h"
#include "features/mel_scale.h"

namespace w2vbert {
namespace {

constexpr std::int64_t kFrameLength = SeamlessM4TFeatureExtractorConfig::kFrameLength;
constexpr std::int64_t kHopLength = SeamlessM4TFeatureExtractorConfig::kHopLength;
constexpr std::int64_t kFftLength = 512;
constexpr std::int64_t kBins = kFftLength / 2 + 1;
constexpr double kPreemphasis = 0.97;
constexpr double kMelFloor = 1.192092955078125e-07;
constexpr float kVarianceFloor = 1e-7F;
constexpr float kSampleScale = 32768.0F;       // Kaldi: 16-bit integers
constexpr std::int64_t kFramesPerBlock = 128;  // fbank frames: a few hundred KiB a thread
constexpr std::int64_t kLanes = 8;             // fbank frames side by side, for the vector units

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

std::int64_t round_up(std::int64_t value, std::optional<std::int64_t> multiple) {
  return multiple ? (value + *multiple - 1) / *multiple * *multiple : value;
}

// One frame of samples, -1..1 -> what is transformed. HF: the loop of spectrogram().
void prepare_frame(const float* samples, const std::vector<double>& window, double* out) {
  double centred[kFrameLength];
  for (std::int64_t i = 0; i < kFrameLength; ++i) {
    centred[i] = static_cast<double>(samples[i] * kSampleScale);
  }
  const double mean =
      pairwise_sum<double>(0, kFrameLength, [&](std::int64_t i) { return centred[i]; }) /
      kFrameLength;
  for (double& value : centred) value -= mean;
  const double* weights = window.data();
  out[0] = centred[0] * (1 - kPreemphasis) * weights[0];
  for (std::int64_t i = 1; i < kFrameLength; ++i) {
    out[i] = (centred[i] - kPreemphasis * centred[i - 1]) * weights[i];
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
  const std::vector<double> edges = mel_edges(config_);
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
    // A filter narrower than a bin: 0, or NaN where the transform is NaN.
    if (filter.weights.empty()) filter.weights.push_back(0.0);
    mel_filters_.push_back(std::move(filter));
  }
}

SeamlessM4TFeatureExtractor SeamlessM4TFeatureExtractor::from_pretrained(
    const std::string& directory) {
  return SeamlessM4TFeatureExtractor(SeamlessM4TFeatureExtractorConfig::from_pretrained(directory));
}

at::Tensor SeamlessM4TFeatureExtractor::log_mel(std::span<const float> clip) const {
  const auto samples = static_cast<std::int64_t>(clip.size());
  TORCH_CHECK_VALUE(samples >= kFrameLength - kHopLength, "clips: ", samples,
                    " samples, expected at least ", kFrameLength - kHopLength);
  const auto fbank_frames = SeamlessM4TFeatureExtractorConfig::fbank_frames_of(samples);
  const auto mels = config_.num_mel_bins;
  auto features = at::empty({mels, fbank_frames}, at::kFloat);
  float* const out = features.mutable_data_ptr<float>();

  const auto blocks = (fbank_frames + kFramesPerBlock - 1) / kFramesPerBlock;
  at::parallel_for(0, blocks, 1, [&](std::int64_t first_block, std::int64_t last_block) {
    const at::NoGradGuard no_grad;
    const auto buffer = at::empty({kFramesPerBlock, kFftLength}, at::kDouble);
    auto energies = at::empty({mels, kFramesPerBlock}, at::kDouble);
    double* const samples_of = buffer.mutable_data_ptr<double>();
    for (std::int64_t block = first_block; block < last_block; ++block) {
      const auto first = block * kFramesPerBlock;
      const auto count = std::min(kFramesPerBlock, fbank_frames - first);
      for (std::int64_t i = 0; i < count; ++i) {
        prepare_frame(clip.data() + (first + i) * kHopLength, window_, samples_of + i * kFftLength);
      }
      const auto transform = at::fft_rfft(buffer.narrow(0, 0, count)).contiguous();
      mel_energies(transform.const_data_ptr<c10::complex<double>>(), count,
                   energies.mutable_data_ptr<double>());
      energies.log_();
      const double* const logarithms = energies.const_data_ptr<double>();
      for (std::int64_t mel = 0; mel < mels; ++mel) {
        const double* const row = logarithms + mel * kFramesPerBlock;
        float* const to = out + mel * fbank_frames + first;
        for (std::int64_t i = 0; i < count; ++i) to[i] = static_cast<float>(row[i]);
      }
    }
  });
  return features;
}

void SeamlessM4TFeatureExtractor::mel_energies(const c10::complex<double>* transform,
                                               std::int64_t count, double* energies) const {
  double power[kBins][kLanes];
  for (std::int64_t first = 0; first < kFramesPerBlock; first += kLanes) {
    for (std::int64_t lane = 0; lane < kLanes; ++lane) {
      if (first + lane >= count) {
        for (auto& bin : power) bin[lane] = 0.0;
        continue;
      }
      const c10::complex<double>* const frame = transform + (first + lane) * kBins;
      for (std::int64_t bin = 0; bin < kBins; ++bin) {
        // HF rounds the transform to complex64. The root of hypot and its square leave out what
        // float32 does not see.
        const double real = static_cast<float>(frame[bin].real());
        const double imag = static_cast<float>(frame[bin].imag());
        power[bin][lane] = real * real + imag * imag;
      }
    }
    double* to = energies + first;
    for (const MelFilter& filter : mel_filters_) {
      double sums[kLanes] = {};
      const double(*bins)[kLanes] = power + filter.first_bin;
      for (std::size_t k = 0; k < filter.weights.size(); ++k) {
        const double weight = filter.weights[k];
        for (std::int64_t lane = 0; lane < kLanes; ++lane) sums[lane] += bins[k][lane] * weight;
      }
      for (std::int64_t lane = 0; lane < kLanes; ++lane) {
        to[lane] = sums[lane] < kMelFloor ? kMelFloor : sums[lane];  // NaN stays NaN, as in numpy
      }
      to += kFramesPerBlock;
    }
  }
}

SeamlessM4TFeatureExtractor::Features SeamlessM4TFeatureExtractor::operator()(
    const std::vector<std::vector<float>>& clips, const Options& options) const {
  const std::vector<std::span<const float>> spans(clips.begin(), clips.end());
  return extract(spans, options);
}

SeamlessM4TFeatureExtractor::Features SeamlessM4TFeatureExtractor::operator()(
    const std::vector<at::Tensor>& clips, const Options& options) const {
  const at::NoGradGuard no_grad;
  std::vector<at::Tensor> rows;
  std::vector<std::span<const float>> spans;
  for (const at::Tensor& clip : clips) {
    TORCH_CHECK_VALUE(clip.defined() && clip.is_floating_point() && clip.device().is_cpu() &&
                          clip.layout() == at::kStrided,
                      "clips: ", clip.toString(), ", expected a floating-point tensor on the CPU");
    TORCH_CHECK_VALUE(clip.dim() == 1 || (clip.dim() == 2 && clip.size(0) > 0), "clips: shape ",
                      clip.sizes(), ", expected (S) or (channels, S)");
    rows.push_back((clip.dim() == 1 ? clip : clip.select(0, 0)).to(at::kFloat).contiguous());
    spans.emplace_back(rows.back().const_data_ptr<float>(),
                       static_cast<std::size_t>(rows.back().numel()));
  }
  return extract(spans, options);
}

SeamlessM4TFeatureExtractor::Features SeamlessM4TFeatureExtractor::operator()(
    const std::vector<Waveform>& waveforms, const Options& options) const {
  return extract_waveforms(waveforms, options);
}

SeamlessM4TFeatureExtractor::Features SeamlessM4TFeatureExtractor::extract_waveforms(
    std::span<const Waveform> waveforms, const Options& options) const {
  std::vector<std::span<const float>> spans;
  for (const Waveform& waveform : waveforms) {
    TORCH_CHECK_VALUE(waveform.sample_rate_hz == config_.sampling_rate, "waveforms[", spans.size(),
                      "]: ", waveform.sample_rate_hz, " Hz, expected ", config_.sampling_rate,
                      " Hz: resample it with resample_soxr or resample_sinc");
    spans.emplace_back(waveform.samples);
  }
  return extract(spans, options);
}

SeamlessM4TFeatureExtractor::Features SeamlessM4TFeatureExtractor::extract(
    std::span<const std::span<const float>> clips, const Options& options) const {
  TORCH_CHECK_VALUE(!clips.empty(), "clips: none, expected at least one");
  TORCH_CHECK_VALUE(options.sampling_rate.value_or(config_.sampling_rate) == config_.sampling_rate,
                    "sampling_rate: ", *options.sampling_rate, " Hz, expected ",
                    config_.sampling_rate);
  TORCH_CHECK_VALUE(options.pad_to_multiple_of.value_or(1) >= 1,
                    "pad_to_multiple_of: ", *options.pad_to_multiple_of, ", expected at least 1");
  TORCH_CHECK_VALUE(options.max_length.value_or(0) >= 0, "max_length: ", *options.max_length,
                    ", expected at least 0");
  TORCH_CHECK_VALUE(
      options.max_length || (options.padding != Padding::max_length && !options.truncation),
      "max_length: none, expected a length to pad or truncate to");
  const at::NoGradGuard no_grad;
  const std::int64_t max_length =
      round_up(options.max_length.value_or(0), options.pad_to_multiple_of);

  std::vector<at::Tensor> features;  // (mels, fbank frames) each
  std::int64_t longest = 0;
  for (const auto& clip : clips) {
    auto one = log_mel(clip);
    // HF: over all fbank frames, also those that are cut off afterwards.
    if (options.do_normalize_per_mel_bins) normalize_per_mel_bins(one);
    if (options.truncation) one = one.narrow(1, 0, std::min(one.size(1), max_length));
    longest = std::max(longest, one.size(1));
    features.push_back(std::move(one));
  }

  std::int64_t target = 0;  // fbank frames to pad to; longer clips stay as they are
  if (options.padding == Padding::longest) target = round_up(longest, options.pad_to_multiple_of);
  if (options.padding == Padding::max_length) target = max_length;
  const std::int64_t padded = std::max(target, longest);
  for (const auto& one : features) {
    const std::int64_t fbank_frames = std::max(target, one.size(1));
    TORCH_CHECK_VALUE(fbank_frames == padded, "clips: ", fbank_frames, " and ", padded,
                      " frames, expected padding or truncation to one length");
  }

  const auto batch = static_cast<std::int64_t>(clips.size());
  const auto mels = config_.num_mel_bins;
  const auto stride = config_.stride;
  const auto frames = padded / stride;  // rows of input_features; what is left over is cut
  auto fbank = at::empty({batch, padded, mels}, at::kFloat);
  for (std::int64_t clip = 0; clip < batch; ++clip) {
    const auto& one = features[static_cast<std::size_t>(clip)];
    const auto count = one.size(1);
    fbank[clip].narrow(0, 0, count).copy_(one.t());  // (mels, fbank frames) -> (fbank frames, mels)
    fbank[clip].narrow(0, count, padded - count).fill_(config_.padding_value);
  }
  Features result;
  result.input_features =
      fbank.narrow(1, 0, frames * stride).reshape({batch, frames, mels * stride});
  if (!options.return_attention_mask.value_or(config_.return_attention_mask)) return result;
  if (stride == 1) {
    result.attention_mask = at::zeros({batch, 0}, at::kLong);
    return result;
  }
  result.attention_mask = at::zeros({batch, frames}, at::kLong);
  for (std::int64_t clip = 0; clip < batch; ++clip) {
    // Frame t counts if fbank frame t * stride + 1 is there.
    const auto count = features[static_cast<std::size_t>(clip)].size(1);
    const auto valid = std::min(frames, (count + stride - 2) / stride);
    result.attention_mask[clip].narrow(0, 0, valid).fill_(1);
  }
  return result;
}

}  // namespace w2vbert
