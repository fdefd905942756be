#include "core/resolved_path.h"

#include <cstdlib>
#include <memory>

#include "core/file.h"

namespace w2vbert {

std::string resolved_path(const std::string& path) {
  using Text = std::unique_ptr<char, void (*)(void*)>;
  if (const Text whole(::realpath(path.c_str(), nullptr), std::free); whole) return whole.get();
  const Text folder(::realpath(parent_path(path).c_str(), nullptr), std::free);
  return folder ? join_path(folder.get(), file_name(path)) : "";
}

}  // namespace w2vbert
