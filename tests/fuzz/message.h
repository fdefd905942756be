// What every error message must be like.
#pragma once

#include <cstdlib>
#include <string_view>

namespace w2vbert {

// Aborts unless `message` is one line of valid text under 2 KB.
inline void check_message(std::string_view message) {
  if (message.empty() || message.size() >= 2048) std::abort();
  for (const char c : message) {
    if (static_cast<unsigned char>(c) < 0x20 || c == 0x7F) std::abort();
  }
}

}  // namespace w2vbert
