// Numbers in words, as messages have them.
#pragma once

#include <fmt/format.h>

#include <cstddef>
#include <string>

namespace w2vbert::tool {

inline std::string count(std::size_t number, const char* word) {
  return fmt::format("{} {}{}", number, word, number == 1 ? "" : "s");
}

// "0.3 s", "37 s", "12 min", "3.4 h"
inline std::string duration(double seconds) {
  if (seconds >= 0.05 && seconds < 1) return fmt::format("{:.1f} s", seconds);
  if (seconds < 100) return fmt::format("{:.0f} s", seconds);
  if (seconds < 100 * 60) return fmt::format("{:.0f} min", seconds / 60);
  return fmt::format("{:.1f} h", seconds / 3600);
}

// "4.2 GB", "0.7 MB"
inline std::string size_text(double gigabytes) {
  return gigabytes >= 1 ? fmt::format("{:.2f} GB", gigabytes)
                        : fmt::format("{:.1f} MB", gigabytes * 1000);
}

inline std::string speed(double audio_seconds, double seconds) {
  return seconds > 0 ? fmt::format("{:.1f} x real time", audio_seconds / seconds) : "";
}

}  // namespace w2vbert::tool
