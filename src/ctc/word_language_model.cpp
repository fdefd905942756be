// pyctcdecode 0.5.0, language_model.py.
#include "w2vbert/ctc/word_language_model.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "config/config_table.h"
#include "core/directory_entries.h"

namespace w2vbert {
namespace {

// The words of a language: some million are tens of megabytes.
constexpr std::uint64_t kMaxUnigramsBytes = std::uint64_t{1} << 30;
constexpr const char* kAttributes = "attrs.json";
constexpr const char* kUnigrams = "unigrams.txt";

// Bytes of what ends a line at the start of `text` for Python's str.splitlines(), or 0.
std::size_t line_end_length(std::string_view text) {
  if (text.starts_with("\r\n")) return 2;
  const auto first = static_cast<unsigned char>(text.front());
  if ((first >= 0x0A && first <= 0x0D) || (first >= 0x1C && first <= 0x1E)) return 1;
  if (text.starts_with("\u0085")) return 2;
  if (text.starts_with("\u2028") || text.starts_with("\u2029")) return 3;
  return 0;
}

std::vector<std::string> lines_of(std::string_view text) {
  std::vector<std::string> lines;
  std::size_t begin = 0;
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t end = line_end_length(text.substr(at));
    if (end > 0) {
      lines.emplace_back(text.substr(begin, at - begin));
      begin = at + end;
    }
    at += std::max<std::size_t>(end, 1);
  }
  if (begin < text.size()) lines.emplace_back(text.substr(begin));
  return lines;
}

WordLanguageModel::Settings read_settings(const std::string& path) {
  const JsonValue root = parse_config(read_config_text(path), path);
  const ConfigReader reader(path);
  WordLanguageModel::Settings settings;
  const std::pair<const char*, double*> numbers[] = {
      {"alpha", &settings.alpha},
      {"beta", &settings.beta},
      {"unk_score_offset", &settings.unk_score_offset},
  };
  constexpr const char* kBoundary = "score_boundary";
  for (const auto& member : *root.get_if<JsonValue::Object>()) {
    const std::string& key = member.first;
    const bool is_number = std::any_of(std::begin(numbers), std::end(numbers),
                                       [&](const auto& number) { return key == number.first; });
    if (!is_number && key != kBoundary) {
      reader.fail(key, "is unknown", "alpha, beta, unk_score_offset and score_boundary alone");
    }
  }
  for (const auto& [key, to] : numbers) {
    const JsonValue* value = root.find(key);
    if (!value) reader.fail(key, "is missing", "a number");
    if (const auto* number = value->get_if<double>()) {
      *to = *number;
    } else if (const auto* integer = value->get_if<std::uint64_t>()) {
      *to = static_cast<double>(*integer);
    } else if (const auto* negative = value->get_if<JsonNegative>()) {
      *to = static_cast<double>(negative->value);
    } else {
      reader.fail(key, value->describe(), "a number");
    }
    if (!std::isfinite(*to)) reader.fail(key, value->describe(), "a finite number");
  }
  const JsonValue* boundary = root.find(kBoundary);
  if (!boundary) reader.fail(kBoundary, "is missing", "true or false");
  const auto* flag = boundary->get_if<bool>();
  if (!flag) reader.fail(kBoundary, boundary->describe(), "true or false");
  settings.score_boundary = *flag;
  return settings;
}

bool is_model_name(std::string_view name) {
  return name.ends_with(".arpa") || name.ends_with(".bin") || name.ends_with(".binary") ||
         name.ends_with(".arpa.gz");
}

}  // namespace

WordLanguageModel::WordLanguageModel(NgramModel model, std::vector<std::string> unigrams)
    : WordLanguageModel(std::move(model), std::move(unigrams), Settings{}) {}

WordLanguageModel::WordLanguageModel(NgramModel model, std::vector<std::string> unigrams,
                                     Settings given)
    : settings(given), model_(std::move(model)), unigrams_(std::move(unigrams)) {
  std::erase_if(unigrams_, [this](const std::string& word) { return !model_.contains(word); });
  std::sort(unigrams_.begin(), unigrams_.end());
  unigrams_.erase(std::unique(unigrams_.begin(), unigrams_.end()), unigrams_.end());
}

bool WordLanguageModel::is_known(std::string_view word) const {
  if (!unigrams_.empty() && !std::binary_search(unigrams_.begin(), unigrams_.end(), word)) {
    return false;
  }
  return model_.contains(word);
}

WordLanguageModel WordLanguageModel::from_directory(const std::string& directory) {
  if (!is_directory<ConfigError>(directory)) {
    throw ConfigError(directory, "", "is no directory",
                      "one with attrs.json, unigrams.txt and a language model");
  }
  std::string model;
  bool has_attributes = false;
  bool has_unigrams = false;
  for (const std::string& name : names_in(directory)) {
    if (name.starts_with('.') || name.starts_with("__")) continue;
    if (name == kAttributes) {
      has_attributes = true;
    } else if (name == kUnigrams) {
      has_unigrams = true;
    } else if (!is_model_name(name)) {
      throw ConfigError(
          join_path(directory, name), "", "does not belong there",
          "attrs.json, unigrams.txt and one file that ends in .arpa, .arpa.gz, .bin or .binary");
    } else if (!model.empty()) {
      throw ConfigError(directory, "", in_quotes(model) + " and " + in_quotes(name),
                        "one language model");
    } else {
      model = name;
    }
  }
  if (!has_attributes) throw ConfigError(join_path(directory, kAttributes), "", "is missing");
  if (!has_unigrams) throw ConfigError(join_path(directory, kUnigrams), "", "is missing");
  if (model.empty()) {
    throw ConfigError(directory, "", "has no language model",
                      "a file that ends in .arpa, .arpa.gz, .bin or .binary");
  }
  const Settings settings = read_settings(join_path(directory, kAttributes));
  const std::string unigrams_path = join_path(directory, kUnigrams);
  const std::string text = read_small_file<ConfigError>(unigrams_path, kMaxUnigramsBytes);
  if (!is_utf8(text)) throw ConfigError(unigrams_path, "", "is not UTF-8");
  return {NgramModel::load(join_path(directory, model)), lines_of(text), settings};
}

WordLanguageModel WordLanguageModel::from_file(const std::string& path) {
  NgramModel model = NgramModel::load(path);
  std::vector<std::string> unigrams = model.arpa_unigrams();
  return WordLanguageModel(std::move(model), std::move(unigrams));
}

}  // namespace w2vbert
