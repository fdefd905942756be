#include "tool/store/json_text.h"

#include <nlohmann/json.hpp>
#include <string_view>

#include "core/escaped_name.h"
#include "core/text.h"

namespace w2vbert::tool {
namespace {

using Json = nlohmann::ordered_json;

std::string as_utf8(const std::string& text) { return is_utf8(text) ? text : escaped_name(text); }

Json with_utf8_strings(const Json& value) {
  if (value.is_string()) return as_utf8(value.get_ref<const std::string&>());
  if (value.is_array()) {
    Json array = Json::array();
    for (const Json& element : value) array.push_back(with_utf8_strings(element));
    return array;
  }
  if (value.is_object()) {
    Json object = Json::object();
    for (const auto& [key, member] : value.items()) {
      object[as_utf8(key)] = with_utf8_strings(member);
    }
    return object;
  }
  return value;
}

// JSON escapes the other controls by itself; these stand in strings only.
std::string with_escaped_controls(const std::string& text) {
  constexpr char kDelete = 0x7F;
  constexpr char kLeadOfC1 = static_cast<char>(0xC2);
  if (text.find(kDelete) == std::string::npos && text.find(kLeadOfC1) == std::string::npos) {
    return text;
  }
  std::string escaped;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const bool is_c1 = text[i] == kLeadOfC1 && static_cast<unsigned char>(text[i + 1]) < 0xA0;
    if (!is_c1 && text[i] != kDelete) {
      escaped += text[i];
      continue;
    }
    if (is_c1) ++i;
    const unsigned char byte[] = {static_cast<unsigned char>(text[i])};
    escaped += "\\u00" + hex_text(byte);
  }
  return escaped;
}

std::string dumped(const Json& value, int indent) {
  try {
    return with_escaped_controls(value.dump(indent)) + "\n";
  } catch (const Json::type_error&) {  // a string that is not UTF-8
    return with_escaped_controls(with_utf8_strings(value).dump(indent)) + "\n";
  }
}

}  // namespace

std::string json_line(const nlohmann::ordered_json& value) { return dumped(value, -1); }

std::string json_text(const nlohmann::ordered_json& value) { return dumped(value, 2); }

}  // namespace w2vbert::tool
