// JSON as the program writes it: bytes that are not UTF-8 are escaped (core/escaped_name.h),
// controls that a terminal obeys are too, and a line break ends it.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>

namespace w2vbert::tool {

// On one line.
std::string json_line(const nlohmann::ordered_json& value);

// Indented, for files and reports that people read as well.
std::string json_text(const nlohmann::ordered_json& value);

}  // namespace w2vbert::tool
