#include "core/escaped_name.h"

#include <cstddef>

#include "core/text.h"

namespace w2vbert {
namespace {

constexpr std::size_t kEscapeBytes = 4;  // \xNN

int digit_of(char c) {
  const std::size_t digit = kHexDigits.find(c);
  return digit == std::string_view::npos ? -1 : static_cast<int>(digit);
}

bool begins_with_escape(std::string_view text) {
  return text.size() >= kEscapeBytes && text.starts_with("\\x") && digit_of(text[2]) >= 0 &&
         digit_of(text[3]) >= 0;
}

}  // namespace

std::string escaped_name(std::string_view name) {
  std::string text;
  text.reserve(name.size());
  while (!name.empty()) {
    const std::size_t length = utf8_character_length(name);
    if (length > 0 && !begins_with_escape(name)) {
      text += name.substr(0, length);
      name.remove_prefix(length);
      continue;
    }
    const unsigned char byte[] = {static_cast<unsigned char>(name[0])};
    text += "\\x" + hex_text(byte);
    name.remove_prefix(1);
  }
  return text;
}

std::string unescaped_name(std::string_view text) {
  std::string name;
  name.reserve(text.size());
  while (!text.empty()) {
    const std::size_t bytes = begins_with_escape(text) ? kEscapeBytes : 1;
    name += bytes == 1 ? text[0] : static_cast<char>(digit_of(text[2]) << 4 | digit_of(text[3]));
    text.remove_prefix(bytes);
  }
  return name;
}

}  // namespace w2vbert
