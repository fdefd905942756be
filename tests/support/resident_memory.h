// What this process has in memory.
#pragma once

#include <malloc.h>

#include <cstdint>
#include <fstream>
#include <string>

#include "support/namespaces.h"

namespace w2vbert::testing {

// Bytes: "VmRSS", now, or "VmHWM", the most since forget_peak().
inline std::int64_t resident(const std::string& which) {
  std::ifstream status("/proc/self/status");
  for (std::string line; std::getline(status, line);) {
    if (line.starts_with(which + ":")) return std::stol(line.substr(which.size() + 1)) * 1024;
  }
  return 0;
}

// Memory that was freed goes back to the system, or what is measured next comes from it. False:
// the peak cannot be reset here.
inline bool forget_peak() {
  ::malloc_trim(0);
  return static_cast<bool>(std::ofstream("/proc/self/clear_refs") << "5" << std::flush);
}

}  // namespace w2vbert::testing
