// Text: bytes of unknown origin made safe to show, lists, shapes.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace w2vbert {

// At most `limit` bytes of `bytes`, with control characters and invalid UTF-8 written as \xNN.
// Longer input is cut at a character's end and marked with "...".
std::string quote_bytes(std::string_view bytes, std::size_t limit = 200);

// The same between double quotes.
std::string in_quotes(std::string_view bytes, std::size_t limit = 200);

// Lower case.
inline constexpr std::string_view kHexDigits = "0123456789abcdef";
// Two digits for each byte.
std::string hex_text(std::span<const unsigned char> bytes);

// Bytes of the UTF-8 character at the start of `bytes`; 0 when there is no valid one: overlong
// forms, surrogates, anything above U+10FFFF.
std::size_t utf8_character_length(std::string_view bytes);

bool is_utf8(std::string_view text);

// The code point of a character that utf8_character_length() finds whole.
std::uint32_t code_point(std::string_view character);

// Appends the UTF-8 of a code point.
void append_utf8(std::string& text, std::uint32_t code_point);

// Python's str.lower(). Text that is not UTF-8 comes back as it is.
std::string lower_case(std::string_view text);

// Python's str.upper() of one character: one to three.
std::u32string upper_case(std::uint32_t code_point);

// The characters of UTF-8 text; nothing for other bytes.
std::optional<std::u32string> utf32_of(std::string_view text);
std::string utf8_of(std::u32string_view text);

// Python's str.isspace() of one character.
bool is_space(std::uint32_t code_point);
// Bytes of the blank at the start of UTF-8 text, or 0.
std::size_t space_length(std::string_view text);
// Python's str.strip().
std::string_view strip(std::string_view text);
// Python's str.split().
std::vector<std::string_view> split_at_blanks(std::string_view text);

// "a, b, c".
std::string comma_list(std::span<const std::string> words);

// At ',': "a,,b" -> "a", "", "b"; "" -> "".
std::vector<std::string> split(std::string_view list, char separator);

// The shortest text that reads as the same number: "0.1", "50".
std::string number_text(double value);

// "(2, 80)"; "()" for a scalar.
std::string shape_text(std::span<const std::int64_t> shape);

}  // namespace w2vbert
