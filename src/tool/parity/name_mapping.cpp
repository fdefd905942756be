#include "tool/parity/name_mapping.h"

#include <algorithm>
#include <cctype>
#include <optional>
#include <string_view>

#include "core/file.h"
#include "core/json.h"
#include "core/text.h"
#include "tool/parity/ready_mappings.h"
#include "w2vbert/core/error.h"

namespace w2vbert::tool {
namespace {

constexpr std::string_view kNumber = "{i}";
constexpr std::string_view kAnything = "{name}";
// Stands before the names of a head's base model, in HF alone.
constexpr std::string_view kBasePrefix = "wav2vec2_bert.";
constexpr std::uint64_t kMaxBytes = 1 << 20;
constexpr const char* kExpectedNames = "a name or a list of names";

struct Filled {
  std::string number;
  std::string anything;
};

// What stands for {i} and {name} where `pattern` is `name`. Each stands once in a pattern.
std::optional<Filled> match(std::string_view pattern, std::string_view name, Filled filled = {}) {
  const std::size_t literal = std::min(pattern.find('{'), pattern.size());
  if (name.substr(0, literal) != pattern.substr(0, literal)) return std::nullopt;
  pattern.remove_prefix(literal);
  name.remove_prefix(literal);
  if (pattern.empty()) return name.empty() ? std::optional(filled) : std::nullopt;
  const bool is_number = pattern.starts_with(kNumber);
  const std::string_view rest = pattern.substr(is_number ? kNumber.size() : kAnything.size());
  for (std::size_t length = 1; length <= name.size(); ++length) {
    if (is_number && std::isdigit(static_cast<unsigned char>(name[length - 1])) == 0) break;
    Filled longer = filled;
    (is_number ? longer.number : longer.anything) = name.substr(0, length);
    if (auto found = match(rest, name.substr(length), std::move(longer))) return found;
  }
  return std::nullopt;
}

std::string filled_in(std::string text, const Filled& filled) {
  for (const auto& [word, value] :
       {std::pair(kNumber, filled.number), std::pair(kAnything, filled.anything)}) {
    const std::size_t at = text.find(word);
    if (at != std::string::npos) text.replace(at, word.size(), value);
  }
  return text;
}

// Each of the two at most once, and no other brace.
void check_pattern(std::string_view pattern, const std::string& path, const std::string& key) {
  std::string rest(pattern);
  for (const std::string_view word : {kNumber, kAnything}) {
    const std::size_t at = rest.find(word);
    if (at != std::string::npos) rest.replace(at, word.size(), " ");
  }
  if (pattern.empty() || rest.find_first_of("{}") != std::string::npos) {
    throw ConfigError(path, key, "has the name " + in_quotes(pattern),
                      "a name with {i} and {name} at most once each, and no other braces");
  }
}

}  // namespace

NameMapping NameMapping::parse(const std::string& text, const std::string& path) {
  JsonValue file;
  try {
    file = JsonValue::parse(text);
  } catch (const JsonError& error) {
    throw ConfigError(path, "", error.what(), "a JSON object of names");
  }
  const auto* members = file.get_if<JsonValue::Object>();
  if (!members) throw ConfigError(path, "", "is " + file.describe(), "a JSON object of names");
  NameMapping mapping;
  for (const auto& [key, value] : *members) {
    check_pattern(key, path, key);
    std::vector<std::string> names;
    const auto add = [&](const JsonValue& name) {
      const auto* word = name.get_if<std::string>();
      if (!word) throw ConfigError(path, key, "is " + name.describe(), kExpectedNames);
      check_pattern(*word, path, key);
      for (const std::string_view placeholder : {kNumber, kAnything}) {
        if (word->find(placeholder) != std::string::npos &&
            key.find(placeholder) == std::string::npos) {
          throw ConfigError(path, key, "has the name " + in_quotes(*word),
                            "no " + std::string(placeholder) + " that the key does not have");
        }
      }
      names.push_back(*word);
    };
    if (const auto* list = value.get_if<JsonValue::Array>()) {
      for (const JsonValue& name : *list) add(name);
    } else {
      add(value);
    }
    mapping.rules_.emplace_back(key, std::move(names));
  }
  return mapping;
}

NameMapping NameMapping::open(const std::string& name_or_path) {
  for (const ReadyMapping& ready : kReadyMappings) {
    if (ready.name == name_or_path) return parse(std::string(ready.text), name_or_path);
  }
  if (!name_or_path.ends_with(".json")) {
    throw UsageError("", "names", in_quotes(name_or_path) + " is no mapping",
                     comma_list(ready()) + " or a .json file", "names");
  }
  return parse(read_small_file<ConfigError>(name_or_path, kMaxBytes), name_or_path);
}

std::vector<std::string> NameMapping::ready() {
  std::vector<std::string> names;
  for (const ReadyMapping& mapping : kReadyMappings) names.emplace_back(mapping.name);
  return names;
}

std::vector<std::string> NameMapping::candidates(const std::string& name) const {
  std::vector<std::string> names;
  const auto add_rules = [&](std::string_view of) {
    for (const auto& [pattern, values] : rules_) {
      const auto filled = match(pattern, of);
      if (!filled) continue;
      for (const std::string& value : values) names.push_back(filled_in(value, *filled));
    }
  };
  add_rules(name);
  if (name.starts_with(kBasePrefix)) add_rules(std::string_view(name).substr(kBasePrefix.size()));
  const std::string exported =
      name.ends_with("[1]") ? name.substr(0, name.size() - 3) + "/output/1" : name + "/output/0";
  for (const std::string& own :
       {name, name + ".output", name + "/output", "modules/" + exported, "outputs/" + name}) {
    names.push_back(own);
  }
  return names;
}

}  // namespace w2vbert::tool
