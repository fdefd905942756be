// What stands in a file's place and is a link.
#pragma once

#include <filesystem>
#include <string>
#include <string_view>
#include <system_error>

#include "core/text.h"
#include "w2vbert/core/error.h"

namespace w2vbert::tool {

// Throws StorageError(path), which says where it leads: that file may be anyone's.
[[noreturn]] inline void refuse_link(const std::string& path, std::string_view expected) {
  std::error_code unreadable;
  const std::string target = std::filesystem::read_symlink(path, unreadable).string();
  throw StorageError(path, "", "is a symbolic link to " + quote_bytes(target), expected);
}

}  // namespace w2vbert::tool
