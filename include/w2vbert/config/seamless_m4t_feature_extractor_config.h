// preprocessor_config.json (or processor_config.json) of a Wav2Vec2-BERT model. Torch-free.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace w2vbert {

/// The settings of HF's SeamlessM4TFeatureExtractor
/// (transformers/models/seamless_m4t/feature_extraction_seamless_m4t.py), HF's names and defaults.
struct SeamlessM4TFeatureExtractorConfig {
  std::int64_t feature_size = 80;
  std::int64_t sampling_rate = 16000;  ///< Hz
  std::int64_t num_mel_bins = 80;
  double padding_value = 0.0;  ///< facebook/w2v-bert-2.0 has 1
  std::int64_t stride = 2;     ///< frames stacked into one row of input_features
  std::string padding_side = "right";
  bool return_attention_mask = true;

  /// HF: filter-bank frames begin every so many samples, whatever the sampling rate.
  static constexpr std::int64_t kHopLength = 160;
  /// HF: samples of a filter-bank frame.
  static constexpr std::int64_t kFrameLength = 400;
  /// HF: how many frames a clip of so many samples has, at least kFrameLength.
  static constexpr std::int64_t fbank_frames_of(std::int64_t samples) {
    return (samples - kFrameLength + kHopLength) / kHopLength;
  }
  /// Rows of input_features for each second of audio.
  double frame_rate_hz() const;
  /// ... for `seconds` of it, rounded; 1 at least.
  std::int64_t frames_of(double seconds) const;

  static SeamlessM4TFeatureExtractorConfig from_json(std::string_view text,
                                                     const std::string& path);

  /// processor_config.json with a nested "feature_extractor" (transformers 5) wins over
  /// preprocessor_config.json, as in HF. ConfigError when there is neither.
  static SeamlessM4TFeatureExtractorConfig from_pretrained(const std::string& directory);

  /// The text of a preprocessor_config.json as HF's save_pretrained writes it, padding_value with a
  /// decimal point. Throws ConfigError.
  std::string to_json() const;
  /// Writes `<directory>/preprocessor_config.json` durably, over what is there; makes the
  /// directory. Throws ConfigError; StorageError for a place that cannot be written, and where a
  /// processor_config.json with other settings would be read instead of what was saved.
  void save_pretrained(const std::string& directory) const;

  void validate(const std::string& path = "preprocessor_config") const;
};

}  // namespace w2vbert
