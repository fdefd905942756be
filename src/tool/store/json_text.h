// JSON as the program writes it: bytes that are not UTF-8 are replaced, and a line break ends it.
#pragma once

#include <nlohmann/json.hpp>
#include <string>

namespace w2vbert::tool {

// On one line.
inline std::string json_line(const nlohmann::ordered_json& value) {
  return value.dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace) + "\n";
}

// Indented, for files and reports that people read as well.
inline std::string json_text(const nlohmann::ordered_json& value) {
  return value.dump(2, ' ', false, nlohmann::ordered_json::error_handler_t::replace) + "\n";
}

}  // namespace w2vbert::tool
