#include "core/memory.h"

#include <algorithm>
#include <fstream>
#include <limits>
#include <optional>

#include "core/control_groups.h"

namespace w2vbert {
namespace {

constexpr std::int64_t kNoMemoryLimit = std::numeric_limits<std::int64_t>::max();

// The file's first word as a number; nothing for "max" and for what is not there.
std::optional<std::int64_t> number_in(const std::string& path) {
  std::ifstream file(path);
  std::int64_t number = 0;
  if (!(file >> number)) return std::nullopt;
  return number;
}

// The number behind `name` in lines of "name number".
std::int64_t number_behind(const std::string& path, const std::string& name) {
  std::ifstream file(path);
  std::string word;
  std::int64_t number = 0;
  for (std::string line; file >> word >> number; std::getline(file, line)) {
    if (word == name) return number;
  }
  return 0;
}

// Its limit, less what is in use; cached files that nobody uses give way.
std::int64_t left_in_group(const std::string& directory, int version) {
  const auto limit =
      number_in(directory + (version == 2 ? "/memory.max" : "/memory.limit_in_bytes"));
  const auto used =
      number_in(directory + (version == 2 ? "/memory.current" : "/memory.usage_in_bytes"));
  if (!limit || !used) return kNoMemoryLimit;
  const std::int64_t cached = number_behind(directory + "/memory.stat",
                                            version == 2 ? "inactive_file" : "total_inactive_file");
  return std::max<std::int64_t>(0, *limit - *used + cached);
}

}  // namespace

std::int64_t usable_memory(const std::string& root) {
  std::int64_t bytes = kNoMemoryLimit;
  constexpr std::int64_t kKibibyte = 1024;
  if (const std::int64_t available = number_behind(root + "/proc/meminfo", "MemAvailable:")) {
    bytes = available * kKibibyte;
  }
  for_each_control_group(root, "memory", [&](const std::string& directory, int version) {
    bytes = std::min(bytes, left_in_group(directory, version));
  });
  return bytes;
}

}  // namespace w2vbert
