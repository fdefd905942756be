#include "core/text.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cstdint>

namespace w2vbert {
namespace {

std::string escaped_byte(char c) {
  const std::array<unsigned char, 1> byte = {static_cast<unsigned char>(c)};
  return "\\x" + hex_text(byte);
}

bool is_control(std::string_view character) {
  const auto first = static_cast<std::uint8_t>(character[0]);
  if (character.size() == 1) return first < 0x20 || first == 0x7F;
  // U+0080..U+009F, the C1 controls, some terminals obey.
  return character.size() == 2 && first == 0xC2 && static_cast<std::uint8_t>(character[1]) < 0xA0;
}

}  // namespace

// Unicode 15, table 3-7.
std::size_t utf8_character_length(std::string_view bytes) {
  const auto byte = [&](std::size_t i) { return static_cast<std::uint8_t>(bytes[i]); };
  const auto continues = [&](std::size_t i, std::uint8_t low = 0x80, std::uint8_t high = 0xBF) {
    return i < bytes.size() && byte(i) >= low && byte(i) <= high;
  };
  if (bytes.empty()) return 0;
  const std::uint8_t lead = byte(0);
  if (lead < 0x80) return 1;
  if (lead >= 0xC2 && lead <= 0xDF) return continues(1) ? 2 : 0;
  if (lead >= 0xE0 && lead <= 0xEF) {
    const std::uint8_t low = lead == 0xE0 ? 0xA0 : 0x80;
    const std::uint8_t high = lead == 0xED ? 0x9F : 0xBF;
    return continues(1, low, high) && continues(2) ? 3 : 0;
  }
  if (lead >= 0xF0 && lead <= 0xF4) {
    const std::uint8_t low = lead == 0xF0 ? 0x90 : 0x80;
    const std::uint8_t high = lead == 0xF4 ? 0x8F : 0xBF;
    return continues(1, low, high) && continues(2) && continues(3) ? 4 : 0;
  }
  return 0;
}

bool is_utf8(std::string_view text) {
  while (!text.empty()) {
    const std::size_t length = utf8_character_length(text);
    if (length == 0) return false;
    text.remove_prefix(length);
  }
  return true;
}

std::uint32_t code_point(std::string_view character) {
  const auto byte = [&](std::size_t i) { return static_cast<std::uint8_t>(character[i]); };
  constexpr std::uint32_t kLeadMasks[] = {0, 0x7F, 0x1F, 0x0F, 0x07};
  std::uint32_t value = byte(0) & kLeadMasks[character.size()];
  for (std::size_t i = 1; i < character.size(); ++i) value = value << 6 | (byte(i) & 0x3FU);
  return value;
}

std::string quote_bytes(std::string_view bytes, std::size_t limit) {
  const bool is_plain =
      bytes.size() <= limit &&
      std::all_of(bytes.begin(), bytes.end(), [](char c) { return c >= 0x20 && c < 0x7F; });
  if (is_plain) return std::string(bytes);  // nearly every name of a listing
  std::string out;
  while (!bytes.empty()) {
    const std::size_t length = utf8_character_length(bytes);
    std::string piece;
    if (length == 0) {
      piece = escaped_byte(bytes[0]);
    } else if (is_control(bytes.substr(0, length))) {
      for (const char c : bytes.substr(0, length)) piece += escaped_byte(c);
    } else {
      piece = bytes.substr(0, length);
    }
    if (out.size() + piece.size() > limit) return out + "...";
    out += piece;
    bytes.remove_prefix(length == 0 ? 1 : length);
  }
  return out;
}

void append_utf8(std::string& text, std::uint32_t code_point) {
  const auto add = [&](std::uint32_t byte) { text += static_cast<char>(byte); };
  if (code_point < 0x80) return add(code_point);
  if (code_point < 0x800) {
    add(0xC0 | code_point >> 6);
  } else if (code_point < 0x10000) {
    add(0xE0 | code_point >> 12);
    add(0x80 | (code_point >> 6 & 0x3F));
  } else {
    add(0xF0 | code_point >> 18);
    add(0x80 | (code_point >> 12 & 0x3F));
    add(0x80 | (code_point >> 6 & 0x3F));
  }
  add(0x80 | (code_point & 0x3F));
}

std::string in_quotes(std::string_view bytes, std::size_t limit) {
  return '"' + quote_bytes(bytes, limit) + '"';
}

std::string hex_text(std::span<const unsigned char> bytes) {
  std::string text;
  for (const unsigned char byte : bytes) {
    text += kHexDigits[byte >> 4];
    text += kHexDigits[byte & 0x0F];
  }
  return text;
}

std::optional<std::u32string> utf32_of(std::string_view text) {
  std::u32string characters;
  while (!text.empty()) {
    const std::size_t length = utf8_character_length(text);
    if (length == 0) return std::nullopt;
    characters += static_cast<char32_t>(code_point(text.substr(0, length)));
    text.remove_prefix(length);
  }
  return characters;
}

std::string utf8_of(std::u32string_view text) {
  std::string bytes;
  for (const char32_t character : text) append_utf8(bytes, character);
  return bytes;
}

bool is_space(std::uint32_t c) {
  return (c >= 0x09 && c <= 0x0D) || (c >= 0x1C && c <= 0x20) || c == 0x85 || c == 0xA0 ||
         c == 0x1680 || (c >= 0x2000 && c <= 0x200A) || c == 0x2028 || c == 0x2029 || c == 0x202F ||
         c == 0x205F || c == 0x3000;
}

std::size_t space_length(std::string_view text) {
  const std::size_t length = utf8_character_length(text);
  return length > 0 && is_space(code_point(text.substr(0, length))) ? length : 0;
}

std::string_view strip(std::string_view text) {
  while (const std::size_t length = space_length(text)) text.remove_prefix(length);
  while (!text.empty()) {
    std::size_t last = text.size() - 1;
    while (last > 0 && (static_cast<std::uint8_t>(text[last]) & 0xC0) == 0x80) --last;
    if (space_length(text.substr(last)) == 0) break;
    text = text.substr(0, last);
  }
  return text;
}

std::vector<std::string_view> split_at_blanks(std::string_view text) {
  std::vector<std::string_view> words;
  for (text = strip(text); !text.empty();) {
    std::size_t end = 0;
    while (end < text.size() && space_length(text.substr(end)) == 0) {
      end += std::max<std::size_t>(utf8_character_length(text.substr(end)), 1);
    }
    words.push_back(text.substr(0, end));
    text.remove_prefix(end);
    while (const std::size_t length = space_length(text)) text.remove_prefix(length);
  }
  return words;
}

std::string comma_list(std::span<const std::string> words) {
  std::string list;
  for (const std::string& word : words) list += (list.empty() ? "" : ", ") + word;
  return list;
}

std::vector<std::string> split(std::string_view list, char separator) {
  std::vector<std::string> words;
  for (std::size_t begin = 0; begin <= list.size();) {
    const std::size_t end = std::min(list.find(separator, begin), list.size());
    words.emplace_back(list.substr(begin, end - begin));
    begin = end + 1;
  }
  return words;
}

std::string number_text(double value) {
  std::array<char, 32> text{};  // the shortest form has at most 24 characters
  return {text.data(), std::to_chars(text.begin(), text.end(), value).ptr};
}

std::string shape_text(std::span<const std::int64_t> shape) {
  std::string text = "(";
  for (const std::int64_t size : shape) {
    text += (text.size() > 1 ? ", " : "") + std::to_string(size);
  }
  return text + ")";
}

}  // namespace w2vbert
