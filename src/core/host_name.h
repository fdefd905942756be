// The machine, as journals and temporary files name it.
#pragma once

#include <unistd.h>

#include <array>
#include <string>

namespace w2vbert {

// As gethostname() gives it, or "unknown".
inline std::string host_name() {
  std::array<char, 256> name{};
  return ::gethostname(name.data(), name.size() - 1) == 0 ? name.data() : "unknown";
}

}  // namespace w2vbert
