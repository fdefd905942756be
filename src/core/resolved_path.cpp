#include "core/resolved_path.h"

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <memory>
#include <system_error>

#include "core/file.h"

namespace w2vbert {

std::string resolved_path(const std::string& path) {
  using Text = std::unique_ptr<char, void (*)(void*)>;
  if (const Text whole(::realpath(path.c_str(), nullptr), std::free); whole) return whole.get();
  const Text folder(::realpath(parent_path(path).c_str(), nullptr), std::free);
  return folder ? join_path(folder.get(), file_name(path)) : "";
}

std::string normalised_path(std::string_view path) {
  std::string out;
  while (!path.empty()) {
    const std::size_t slash = std::min(path.find('/'), path.size());
    const std::string_view component = path.substr(0, slash);
    path.remove_prefix(std::min(slash + 1, path.size()));
    if (component.empty() || component == ".") continue;
    if (component == "..") {
      out.resize(out.empty() ? 0 : out.rfind('/'));
      continue;
    }
    out += '/';
    out += component;
  }
  return out.empty() ? "/" : out;
}

std::string absolute_path(const std::string& path) {
  if (path.starts_with('/')) return normalised_path(path);
  std::error_code error;
  const std::string directory = std::filesystem::current_path(error).string();
  return error ? "" : normalised_path(join_path(directory, path));
}

}  // namespace w2vbert
