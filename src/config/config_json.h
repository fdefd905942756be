// The other direction of config_table.h: a table of (key, field) -> the text that transformers
// writes.
#pragma once

#include <cstdint>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <variant>

#include "config/config_table.h"

namespace w2vbert {

// The members of a config file; sorted, as transformers writes them. Objects in them keep their
// order.
using ConfigMembers = std::map<std::string, nlohmann::ordered_json>;

template <typename T>
nlohmann::ordered_json to_config_json(const T& value) {
  return value;
}
template <typename T>
nlohmann::ordered_json to_config_json(const std::optional<T>& value) {
  return value ? nlohmann::ordered_json(*value) : nlohmann::ordered_json(nullptr);
}

// Adds the field; one that is left out at its default only where it differs from that.
template <typename Config>
void add_field(ConfigMembers& members, const ConfigField<Config>& field, const Config& config) {
  static const Config kDefaults{};
  std::visit(
      [&](auto member) {
        if (field.omit_default && config.*member == kDefaults.*member) return;
        members[field.key] = to_config_json(config.*member);
      },
      field.member);
}

// HF: json.dumps(members, indent=2, sort_keys=True) and a line break, in ASCII. Throws ConfigError.
inline std::string config_text(const ConfigMembers& members) {
  nlohmann::ordered_json root = nlohmann::ordered_json::object();
  for (const auto& [key, value] : members) root[key] = value;
  try {
    return root.dump(2, ' ', /*ensure_ascii=*/true) + "\n";
  } catch (const nlohmann::json::exception&) {  // its text would carry the input
    throw ConfigError("config", "", "holds text that is not UTF-8", "UTF-8");
  }
}

}  // namespace w2vbert
