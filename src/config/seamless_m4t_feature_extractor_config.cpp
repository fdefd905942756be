#include "w2vbert/config/seamless_m4t_feature_extractor_config.h"

#include <cmath>

#include "config_table.h"

namespace w2vbert {
namespace {

using Config = SeamlessM4TFeatureExtractorConfig;
using Field = ConfigField<Config>;

const Field kFields[] = {
    {"feature_size", &Config::feature_size, 1, 4096, "ignored by HF but for the value 1"},
    {"sampling_rate", &Config::sampling_rate, 4000, 384000, "Hz of the waveform"},
    {"num_mel_bins", &Config::num_mel_bins, 1, 4096, "mel filters"},
    {"padding_value", &Config::padding_value, -1e30, 1e30, "fills padded frames"},
    {"stride", &Config::stride, 1, 4096, "frames stacked into one row"},
    {"padding_side", &Config::padding_side, 0, 0, "right"},
    {"return_attention_mask", &Config::return_attention_mask, 0, 0, "whether a mask comes along"},
};

Config read(const JsonValue& root, const std::string& path) {
  const ConfigReader reader(path);
  if (const JsonValue* type = root.find("feature_extractor_type"); type && !type->is_null()) {
    const auto* word = type->get_if<std::string>();
    if (!word || (*word != "SeamlessM4TFeatureExtractor")) {
      reader.fail("feature_extractor_type", type->describe(), "\"SeamlessM4TFeatureExtractor\"");
    }
  }
  Config config;
  for (const Field& field : kFields) reader.read(root, field, config);
  config.validate(path);
  return config;
}

}  // namespace

Config Config::from_json(std::string_view text, const std::string& path) {
  const JsonValue root = parse_config(text, path);
  const JsonValue* nested = root.find("feature_extractor");
  return read(nested ? *nested : root, path);
}

Config Config::from_pretrained(const std::string& directory) {
  const std::string processor = join_path(directory, "processor_config.json");
  if (exists(processor)) {
    const JsonValue root = parse_config(read_config_text(processor), processor);
    if (const JsonValue* nested = root.find("feature_extractor")) {
      if (!nested->get_if<JsonValue::Object>()) {
        throw ConfigError(processor, "feature_extractor", nested->describe(), "an object");
      }
      return read(*nested, processor);
    }
  }
  const std::string preprocessor = join_path(directory, "preprocessor_config.json");
  if (!exists(preprocessor)) {
    throw ConfigError(directory, "", "has no preprocessor_config.json and no processor_config.json",
                      "one of them, it says how audio becomes features");
  }
  return from_json(read_config_text(preprocessor), preprocessor);
}

void Config::validate(const std::string& path) const {
  const ConfigReader reader(path);
  for (const Field& field : kFields) reader.check_range(field, *this);
  if (padding_side != "right") reader.fail("padding_side", '"' + padding_side + '"', "\"right\"");
  if (feature_size != num_mel_bins) {
    reader.fail("feature_size", std::to_string(feature_size),
                "num_mel_bins = " + std::to_string(num_mel_bins));
  }
}

}  // namespace w2vbert
