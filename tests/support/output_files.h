// What lies in an output directory.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "support/namespaces.h"

namespace w2vbert::testing {

std::string content_of(const std::string& path);
void flip_byte(const std::string& path, std::int64_t from_end);

// The values of a file of JSON lines.
std::vector<nlohmann::json> lines_of(const std::string& path);

// Everything below `directory`, as paths relative to it.
std::vector<std::string> files_in(const std::string& directory);

// Which file it is, and when it was written.
struct Stamp {
  ino_t inode;
  std::int64_t seconds;
  std::int64_t nanoseconds;
  bool operator==(const Stamp&) const = default;
};
Stamp stamp_of(const std::string& path);

}  // namespace w2vbert::testing
