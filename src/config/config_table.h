// How a table of (key, field, range, meaning) is read from JSON; shared by the configs of this
// room.
#pragma once

#include <algorithm>
#include <cstdint>
#include <initializer_list>
#include <limits>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "core/file.h"
#include "core/json.h"
#include "core/text.h"
#include "w2vbert/core/error.h"

namespace w2vbert {

constexpr std::uint64_t kMaxConfigBytes = 1 << 20;

// One key of a config: where it is stored, the numbers (both ends included) or words that it may
// hold, and what it means.
template <typename Config>
struct ConfigField {
  using Member =
      std::variant<std::int64_t Config::*, std::optional<std::int64_t> Config::*, double Config::*,
                   bool Config::*, std::string Config::*, std::optional<std::string> Config::*,
                   std::vector<std::int64_t> Config::*, std::vector<std::string> Config::*>;

  const char* key;
  Member member;
  double least;
  double most;
  const char* meaning;
  std::span<const std::string_view> words = {};  // empty: any word
  bool omit_default =
      false;  // HF's PreTrainedConfig has the key, and writes what is not its default
};

inline std::string range_text(double least, double most) {
  return "from " + number_text(least) + " to " + number_text(most);
}

// Checks and stores values for one file; every complaint names the file and the key.
class ConfigReader {
 public:
  // `setting`: what changes what is complained about (Error::setting).
  explicit ConfigReader(std::string path, std::string setting = "")
      : path_(std::move(path)), setting_(std::move(setting)) {}

  [[noreturn]] void fail(const std::string& key, const std::string& problem,
                         const std::string& expected) const {
    throw ConfigError(path_, key, problem, expected, setting_);
  }

  template <typename Config>
  void read(const JsonValue& root, const ConfigField<Config>& field, Config& config) const {
    const JsonValue* value = root.find(field.key);
    if (!value) return;
    std::visit([&](auto member) { store(*value, field.key, config.*member); }, field.member);
  }

  // Ranges and words.
  template <typename Config>
  void check(const ConfigField<Config>& field, const Config& config) const {
    std::visit([&](auto member) { check_value(config.*member, field); }, field.member);
  }

  void check_word(const std::string& key, const std::string& word,
                  std::span<const std::string_view> words, const std::string& or_null = "") const {
    if (std::find(words.begin(), words.end(), word) != words.end()) return;
    std::string expected = words.size() == 1 && or_null.empty() ? "" : "one of ";
    for (const std::string_view candidate : words) {
      if (candidate != words.front()) expected += ", ";
      expected += candidate;
    }
    fail(key, describe(JsonScalar(std::string_view(word))), expected + or_null);
  }

  // The word of the last of `keys` that is there and not null.
  std::optional<std::string> read_word(const JsonValue& root,
                                       std::initializer_list<const char*> keys,
                                       std::span<const std::string_view> words) const {
    std::optional<std::string> word;
    for (const char* key : keys) {
      const JsonValue* value = root.find(key);
      if (!value || value->is_null()) continue;
      store(*value, key, word);
      check_word(key, *word, words);
    }
    return word;
  }

  // What HF annotates as `bool | None`: null counts as false.
  bool flag_or_null(const JsonValue& root, const char* key, bool otherwise) const {
    const JsonValue* value = root.find(key);
    if (!value) return otherwise;
    if (value->is_null()) return false;
    const auto* flag = value->get_if<bool>();
    if (!flag) fail(key, value->describe(), "true, false or null");
    return *flag;
  }

  std::int64_t integer(const JsonValue& value, const char* key, const char* expected) const {
    if (const auto* number = value.get_if<std::uint64_t>()) {
      if (*number <= static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max())) {
        return static_cast<std::int64_t>(*number);
      }
    } else if (const auto* negative = value.get_if<JsonNegative>()) {
      if (negative->value != 0) return negative->value;  // -0 is no integer
    }
    fail(key, value.describe(), expected);
  }

 private:
  void store(const JsonValue& value, const char* key, std::int64_t& to) const {
    to = integer(value, key, "an integer");
  }
  void store(const JsonValue& value, const char* key, std::optional<std::int64_t>& to) const {
    if (value.is_null()) {
      to.reset();
    } else {
      to = integer(value, key, "an integer or null");
    }
  }
  void store(const JsonValue& value, const char* key, double& to) const {
    if (const auto* number = value.get_if<double>()) {
      to = *number;
    } else if (value.get_if<JsonNegative>() && value.get_if<JsonNegative>()->value == 0) {
      to = -0.0;
    } else {
      to = static_cast<double>(integer(value, key, "a number"));
    }
  }
  void store(const JsonValue& value, const char* key, bool& to) const {
    const auto* flag = value.get_if<bool>();
    if (!flag) fail(key, value.describe(), "true or false");
    to = *flag;
  }
  void store(const JsonValue& value, const char* key, std::string& to) const {
    const auto* text = value.get_if<std::string>();
    if (!text) fail(key, value.describe(), "a string");
    to = *text;
  }
  void store(const JsonValue& value, const char* key, std::optional<std::string>& to) const {
    if (value.is_null()) {
      to.reset();
    } else {
      store(value, key, to.emplace());
    }
  }
  void store(const JsonValue& value, const char* key, std::vector<std::int64_t>& to) const {
    const auto* list = value.get_if<JsonValue::Array>();
    if (!list) fail(key, value.describe(), "a list of integers");
    to.clear();
    for (const auto& element : *list) to.push_back(integer(element, key, "a list of integers"));
  }
  void store(const JsonValue& value, const char* key, std::vector<std::string>& to) const {
    if (value.is_null()) return to.clear();
    const auto* list = value.get_if<JsonValue::Array>();
    if (!list) fail(key, value.describe(), "a list of strings");
    to.clear();
    for (const auto& element : *list) store(element, key, to.emplace_back());
  }

  template <typename Config>
  [[noreturn]] void fail_range(const JsonScalar& value, const ConfigField<Config>& field) const {
    fail(field.key, describe(value),
         range_text(field.least, field.most) + " (" + field.meaning + ")");
  }
  template <typename Config>
  void check_value(std::int64_t value, const ConfigField<Config>& field) const {
    if (static_cast<double>(value) >= field.least && static_cast<double>(value) <= field.most) {
      return;
    }
    fail_range(
        value < 0 ? JsonScalar(JsonNegative{value}) : JsonScalar(static_cast<std::uint64_t>(value)),
        field);
  }
  template <typename Config>
  void check_value(double value, const ConfigField<Config>& field) const {
    if (!(value >= field.least && value <= field.most)) fail_range(value, field);  // NaN fails too
  }
  template <typename Config>
  void check_value(const std::optional<std::int64_t>& value,
                   const ConfigField<Config>& field) const {
    if (value) check_value(*value, field);
  }
  template <typename Config>
  void check_value(const std::vector<std::int64_t>& values,
                   const ConfigField<Config>& field) const {
    for (const std::int64_t value : values) check_value(value, field);
  }
  template <typename Config>
  void check_value(const std::string& word, const ConfigField<Config>& field) const {
    if (!field.words.empty()) check_word(field.key, word, field.words);
  }
  template <typename Config>
  void check_value(const std::optional<std::string>& word, const ConfigField<Config>& field) const {
    if (word && !field.words.empty()) check_word(field.key, *word, field.words, ", null");
  }
  template <typename Config, typename T>
  void check_value(const T&, const ConfigField<Config>&) const {}  // flags and lists of words

  std::string path_;
  std::string setting_;
};

// The text of a config file as a JSON object. Throws ConfigError.
inline JsonValue parse_config(std::string_view text, const std::string& path,
                              std::uint64_t max_bytes = kMaxConfigBytes) {
  if (text.size() > max_bytes) {
    throw ConfigError(path, "", "has " + std::to_string(text.size()) + " bytes",
                      "at most " + std::to_string(max_bytes));
  }
  try {
    // HF: json.load. A key that nobody reads may hold NaN; the range of one that is read does not.
    JsonValue root = JsonValue::parse(text, JsonDialect::kPython);
    if (!root.get_if<JsonValue::Object>()) {
      throw ConfigError(path, "", "holds " + root.describe(), "a JSON object");
    }
    return root;
  } catch (const JsonError& error) {
    throw ConfigError(path, "", error.what(), "a JSON object");
  }
}

inline std::string read_config_text(const std::string& path) {
  return read_small_file<ConfigError>(path, kMaxConfigBytes);
}

}  // namespace w2vbert
