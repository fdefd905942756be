#include "w2vbert/config/seamless_m4t_feature_extractor_config.h"

#include <algorithm>
#include <cmath>

#include "config/config_json.h"
#include "config/config_table.h"
#include "core/durable_file.h"

namespace w2vbert {
namespace {

using Config = SeamlessM4TFeatureExtractorConfig;
using Field = ConfigField<Config>;

constexpr std::string_view kExtractors[] = {"SeamlessM4TFeatureExtractor"};
constexpr const char* kPreprocessorFile = "preprocessor_config.json";
constexpr const char* kProcessorFile = "processor_config.json";
constexpr std::string_view kSides[] = {"right"};

const Field kFields[] = {
    {"feature_size", &Config::feature_size, 1, 4096, "ignored by HF but for the value 1"},
    {"sampling_rate", &Config::sampling_rate, 4000, 384000, "Hz of the waveform"},
    {"num_mel_bins", &Config::num_mel_bins, 1, 4096, "mel filters"},
    {"padding_value", &Config::padding_value, -1e30, 1e30, "fills padded frames"},
    {"stride", &Config::stride, 1, 4096, "frames stacked into one row"},
    {"padding_side", &Config::padding_side, 0, 0, "where padding goes", kSides},
};

Config read(const JsonValue& root, const std::string& path) {
  const ConfigReader reader(path);
  reader.read_word(root, {"feature_extractor_type"}, kExtractors);
  for (const char* key : {"mel_filters", "window"}) {  // HF would take these for its own
    if (const JsonValue* value = root.find(key)) {
      reader.fail(key, value->describe() + " is not supported", "no such key: they are computed");
    }
  }
  Config config;
  for (const Field& field : kFields) reader.read(root, field, config);
  config.return_attention_mask =
      reader.flag_or_null(root, "return_attention_mask", config.return_attention_mask);
  config.validate(path);
  return config;
}

// The extractor's part of a processor_config.json, or null. HF's get_feature_extractor_dict
// (feature_extraction_utils.py) knows both names.
const JsonValue* find_nested(const JsonValue& root, const std::string& path) {
  for (const char* key : {"feature_extractor", "audio_processor"}) {
    const JsonValue* nested = root.find(key);
    if (!nested || nested->is_null()) continue;
    if (!nested->get_if<JsonValue::Object>()) {
      throw ConfigError(path, key, nested->describe(), "an object");
    }
    return nested;
  }
  return nullptr;
}

}  // namespace

double Config::frame_rate_hz() const {
  return static_cast<double>(sampling_rate) / static_cast<double>(kHopLength * stride);
}

std::int64_t Config::frames_of(double seconds) const {
  return std::max<std::int64_t>(1, std::llround(seconds * frame_rate_hz()));
}

Config Config::from_json(std::string_view text, const std::string& path) {
  const JsonValue root = parse_config(text, path);
  const JsonValue* nested = find_nested(root, path);
  return read(nested ? *nested : root, path);
}

Config Config::from_pretrained(const std::string& directory) {
  const std::string processor = join_path(directory, kProcessorFile);
  if (exists<ConfigError>(processor)) {
    const JsonValue root = parse_config(read_config_text(processor), processor);
    if (const JsonValue* nested = find_nested(root, processor)) return read(*nested, processor);
  }
  const std::string preprocessor = join_path(directory, kPreprocessorFile);
  if (!exists<ConfigError>(preprocessor)) {
    throw ConfigError(directory, "",
                      "has neither preprocessor_config.json nor a processor_config.json with a "
                      "feature_extractor",
                      "one of them: it says how audio becomes features");
  }
  return read(parse_config(read_config_text(preprocessor), preprocessor), preprocessor);
}

std::string Config::to_json() const {
  validate();
  ConfigMembers members;
  for (const Field& field : kFields) add_field(members, field, *this);
  members["return_attention_mask"] = return_attention_mask;
  members["feature_extractor_type"] = std::string(kExtractors[0]);
  return config_text(members);
}

void Config::save_pretrained(const std::string& directory) const {
  const std::string text = to_json();
  make_directories(directory);
  // HF writes beside it a file that it will not read.
  const std::string processor = join_path(directory, kProcessorFile);
  if (exists(processor)) {
    const JsonValue root = parse_config(read_config_text(processor), processor);
    const JsonValue* nested = find_nested(root, processor);
    if (nested && read(*nested, processor).to_json() != text) {
      throw StorageError(processor, "feature_extractor",
                         "holds other settings and goes before " + std::string(kPreprocessorFile),
                         "no such file, or the same settings");
    }
  }
  write_durably(join_path(directory, kPreprocessorFile), text, IfPresent::kReplace);
}

void Config::validate(const std::string& path) const {
  const ConfigReader reader(path);
  for (const Field& field : kFields) reader.check(field, *this);
  if (feature_size != num_mel_bins) {
    reader.fail("feature_size", std::to_string(feature_size),
                "num_mel_bins = " + std::to_string(num_mel_bins));
  }
}

}  // namespace w2vbert
