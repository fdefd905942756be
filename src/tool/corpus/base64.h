// Bytes in text, as in JSON (RFC 4648, with padding).
#pragma once

#include <cstddef>
#include <optional>
#include <span>
#include <string>
#include <string_view>

namespace w2vbert::tool {

std::string base64_text(std::span<const std::byte> bytes);

// The bytes, in a string; nothing where `text` has another character, a line break, say, or its
// padding is not whole.
std::optional<std::string> base64_bytes(std::string_view text);

}  // namespace w2vbert::tool
