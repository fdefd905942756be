#pragma once

#include <ATen/core/Tensor.h>
#include <c10/util/complex.h>

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "w2vbert/config/seamless_m4t_feature_extractor_config.h"

namespace w2vbert {

// HF: transformers/models/seamless_m4t/feature_extraction_seamless_m4t.py,
// SeamlessM4TFeatureExtractor (the numpy pipeline): Kaldi's log-mel filter banks, normalised per clip
// and mel bin, `stride` frames stacked into one row. Frames have 400 samples every 160, whatever the
// sampling rate. Stateless: calls from several threads do not disturb each other.
class SeamlessM4TFeatureExtractor {
 public:
  enum class Padding { kLongest, kMaxLength, kDoNotPad };

  // HF's arguments of __call__, with its defaults.
  struct Options {
    Padding padding = Padding::kLongest;
    std::int64_t pad_to_multiple_of = 2;     // frames; 0: any length
    std::optional<std::int64_t> max_length;  // frames, rounded up to pad_to_multiple_of
    bool truncation = false;
    bool do_normalize_per_mel_bins = true;
  };

  // F is num_mel_bins * stride; T the rows of the longest clip.
  struct Features {
    at::Tensor input_features;  // (B, T, F) float32
    at::Tensor attention_mask;  // (B, T) int64, 0 where a row is padding in whole or in part
  };

  explicit SeamlessM4TFeatureExtractor(SeamlessM4TFeatureExtractorConfig config = {});

  // The settings of a model directory; ConfigError when it has none.
  static SeamlessM4TFeatureExtractor from_pretrained(const std::string& directory);

  // `clips`: one channel each, -1..1, at config().sampling_rate. As in HF a clip of 400 to 559 samples
  // is one frame, whose normalised values are NaN, and 240 to 399 samples are no frame at all. Throws
  // c10::ValueError: no clip, under 240 samples, clips of different lengths without padding.
  Features operator()(const std::vector<std::vector<float>>& clips, const Options& options) const;
  Features operator()(const std::vector<std::vector<float>>& clips) const {
    return (*this)(clips, Options());
  }

  const SeamlessM4TFeatureExtractorConfig& config() const { return config_; }

 private:
  // (num_mel_bins, frames) float32
  at::Tensor log_mel(const std::vector<float>& clip) const;
  // One frame's transform (257 bins) -> the energies of its mel filters
  void mel_energies(const c10::complex<double>* transform, double* energies) const;

  // The bins of the spectrum that one mel filter weighs.
  struct MelFilter {
    std::int64_t first_bin = 0;
    std::vector<double> weights;
  };

  SeamlessM4TFeatureExtractorConfig config_;
  std::vector<double> window_;
  std::vector<MelFilter> mel_filters_;
};

}  // namespace w2vbert
