// Safetensors files put together by hand, so that they may be wrong.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "support/text_file.h"

namespace w2vbert::testing {

inline std::string little_endian_8(std::uint64_t value) {
  std::string bytes;
  for (int i = 0; i < 8; ++i)
    bytes += static_cast<char>(static_cast<std::uint8_t>(value >> (8 * i)));
  return bytes;
}

inline void write_raw_safetensors(const std::string& path, std::string_view header,
                                  std::string_view data) {
  write_text(path, little_endian_8(header.size()) + std::string(header) + std::string(data));
}

}  // namespace w2vbert::testing
