#pragma once

#include <ATen/core/Tensor.h>
#include <c10/util/complex.h>

#include <concepts>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "w2vbert/audio/waveform.h"
#include "w2vbert/config/seamless_m4t_feature_extractor_config.h"

namespace w2vbert {

/// HF: transformers/models/seamless_m4t/feature_extraction_seamless_m4t.py,
/// SeamlessM4TFeatureExtractor (the numpy pipeline): Kaldi's log-mel filter banks, normalised per
/// clip and mel bin, `stride` of these frames (fbank frames) stacked into one row, which is a frame
/// of the model. An fbank frame has 400 samples, every 160 samples, whatever the sampling rate.
/// Stateless: calls from several threads do not disturb each other. A clip's values do not depend
/// on its neighbours in the batch or on the number of threads.
class SeamlessM4TFeatureExtractor {
 public:
  enum class Padding { longest, max_length, do_not_pad };

  /// Two fbank frames. HF gives something for shorter clips too (below), but nothing that a model
  /// could use: the variance of one fbank frame is NaN. A program that reads files refuses them.
  static constexpr std::int64_t kMinSamples = 560;

  /// HF's arguments of __call__, with its defaults. Lengths are counted in fbank frames, not in
  /// rows.
  struct Options {
    Padding padding = Padding::longest;
    std::optional<std::int64_t> pad_to_multiple_of = 2;
    std::optional<std::int64_t> max_length = std::nullopt;  ///< rounded up to pad_to_multiple_of
    bool truncation = false;
    bool do_normalize_per_mel_bins = true;
    std::optional<std::int64_t> sampling_rate =
        std::nullopt;  ///< Hz of the clips: an error if not config()'s
    std::optional<bool> return_attention_mask = std::nullopt;  ///< config()'s if not given
  };

  /// F is num_mel_bins * stride; T the rows of the longest clip.
  struct Features {
    at::Tensor input_features;  ///< (B, T, F) float32
    /// (B, T) int64; HF: the mask of the fbank frames whose index modulo stride is 1, so that a row
    /// whose second one is padding counts as padding, and with stride 1 the mask is (B, 0).
    /// Undefined where it was not asked for.
    at::Tensor attention_mask;
  };

  explicit SeamlessM4TFeatureExtractor(SeamlessM4TFeatureExtractorConfig config = {});

  /// The settings of a model directory; ConfigError when it does not have them.
  static SeamlessM4TFeatureExtractor from_pretrained(const std::string& directory);
  /// Writes them, as SeamlessM4TFeatureExtractorConfig::save_pretrained.
  void save_pretrained(const std::string& directory) const { config_.save_pretrained(directory); }

  /// `clips`: one channel each, -1..1, at config().sampling_rate. As in HF a clip of 400 to 559
  /// samples is one fbank frame, whose normalised values are NaN; 240 to 399 samples are none at
  /// all; and one sample that is NaN or infinite makes its whole clip NaN. Throws c10::ValueError
  /// where HF raises: no clip, fewer than 240 samples, clips of different lengths without padding,
  /// another sampling_rate, Padding::max_length or truncation without max_length; and for a
  /// negative max_length or a pad_to_multiple_of below 1.
  Features operator()(const std::vector<std::vector<float>>& clips, const Options& options) const;
  Features operator()(const std::vector<std::vector<float>>& clips) const {
    return (*this)(clips, Options());
  }
  /// `clips`: CPU tensors of any floating dtype, rounded to float32, (S) or (channels, S), of which
  /// the first channel is taken.
  Features operator()(const std::vector<at::Tensor>& clips, const Options& options) const;
  /// Waveforms as load_audio gives them. Throws c10::ValueError for one that is not at
  /// config().sampling_rate, which has to be resampled first (audio/resample.h).
  Features operator()(const std::vector<Waveform>& waveforms, const Options& options) const;
  Features operator()(const std::vector<Waveform>& waveforms) const {
    return (*this)(waveforms, Options());
  }
  /// A template, so that a list in braces is never taken for a Waveform's members.
  template <std::same_as<Waveform> One>
  Features operator()(const One& waveform, const Options& options) const {
    return extract_waveforms(std::span<const Waveform>(&waveform, 1), options);
  }
  template <std::same_as<Waveform> One>
  Features operator()(const One& waveform) const {
    return (*this)(waveform, Options());
  }
  /// The same without a copy.
  Features extract(std::span<const std::span<const float>> clips, const Options& options) const;

  const SeamlessM4TFeatureExtractorConfig& config() const { return config_; }

 private:
  Features extract_waveforms(std::span<const Waveform> waveforms, const Options& options) const;
  /// (num_mel_bins, frames) float32
  at::Tensor log_mel(std::span<const float> clip) const;
  /// The transforms (257 bins each) of `count` frames -> (num_mel_bins, kFramesPerBlock) energies
  void mel_energies(const c10::complex<double>* transform, std::int64_t count,
                    double* energies) const;

  /// The bins of the spectrum that one mel filter weighs.
  struct MelFilter {
    std::int64_t first_bin = 0;
    std::vector<double> weights;
  };

  SeamlessM4TFeatureExtractorConfig config_;
  std::vector<double> window_;
  std::vector<MelFilter> mel_filters_;
};

}  // namespace w2vbert
