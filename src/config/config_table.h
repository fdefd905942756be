// How a table of (key, field, range, meaning) is read from JSON; shared by the configs of this room.
#pragma once

#include <cmath>
#include <cstdint>
#include <limits>
#include <optional>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <variant>
#include <vector>

#include "w2vbert/core/error.h"
#include "w2vbert/core/file.h"
#include "w2vbert/core/json.h"

namespace w2vbert {

constexpr std::uint64_t kMaxConfigBytes = 1 << 20;

// One key of a config: where it is stored, the numbers it may hold, and what it means.
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
};

inline std::string range_text(double least, double most, bool integer) {
  const auto number = [&](double value) {
    if (integer) return std::to_string(static_cast<std::int64_t>(value));
    std::string text = std::to_string(value);
    text.erase(text.find_last_not_of('0') + 1);
    if (text.back() == '.') text.pop_back();
    return text;
  };
  return "from " + number(least) + " to " + number(most);
}

// Checks and stores values for one file; every complaint names the file and the key.
class ConfigReader {
 public:
  explicit ConfigReader(std::string path) : path_(std::move(path)) {}

  [[noreturn]] void fail(const std::string& key, const std::string& problem,
                         const std::string& expected) const {
    throw ConfigError(path_, key, problem, expected);
  }

  template <typename Config>
  void read(const JsonValue& root, const ConfigField<Config>& field, Config& config) const {
    const JsonValue* value = root.find(field.key);
    if (!value) return;
    std::visit([&](auto member) { store(*value, field.key, config.*member); }, field.member);
  }

  template <typename Config>
  void check_range(const ConfigField<Config>& field, const Config& config) const {
    std::visit([&](auto member) { check(config.*member, field); }, field.member);
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

  std::int64_t integer(const JsonValue& value, const char* key, const char* expected) const {
    if (const auto* number = value.get_if<std::uint64_t>()) {
      if (*number <= static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max())) {
        return static_cast<std::int64_t>(*number);
      }
    } else if (const auto* negative = value.get_if<JsonNegative>()) {
      return negative->value;
    }
    fail(key, value.describe(), expected);
  }

  template <typename Config>
  void check(std::int64_t value, const ConfigField<Config>& field) const {
    if (static_cast<double>(value) < field.least || static_cast<double>(value) > field.most) {
      fail(field.key, std::to_string(value), range_text(field.least, field.most, true));
    }
  }
  template <typename Config>
  void check(double value, const ConfigField<Config>& field) const {
    if (!(value >= field.least && value <= field.most)) {  // NaN fails too
      fail(field.key, std::to_string(value), range_text(field.least, field.most, false));
    }
  }
  template <typename Config, typename T>
  void check(const std::optional<T>& value, const ConfigField<Config>& field) const {
    if (value) check(*value, field);
  }
  template <typename Config>
  void check(const std::vector<std::int64_t>& values, const ConfigField<Config>& field) const {
    for (const std::int64_t value : values) check(value, field);
  }
  template <typename Config, typename T>
  void check(const T&, const ConfigField<Config>&) const {}  // words and flags have no range

  std::string path_;
};

// The text of a config file as a JSON object. Throws ConfigError.
inline JsonValue parse_config(std::string_view text, const std::string& path) {
  if (text.size() > kMaxConfigBytes) {
    throw ConfigError(path, "", "has " + std::to_string(text.size()) + " bytes",
                      "at most " + std::to_string(kMaxConfigBytes));
  }
  try {
    JsonValue root = JsonValue::parse(text);
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
