// Small files, written and read whole.
#pragma once

#include <fstream>
#include <iterator>
#include <string>
#include <string_view>

#include "support/namespaces.h"

namespace w2vbert::testing {

inline void write_text(const std::string& path, std::string_view text) {
  std::ofstream(path, std::ios::binary) << text;
}

// "" for a file that is not there.
inline std::string read_text(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
}

}  // namespace w2vbert::testing
