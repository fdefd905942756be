#include "core/directory_entries.h"

#include <algorithm>
#include <cerrno>
#include <memory>

#include "core/descriptor.h"
#include "w2vbert/core/error.h"

namespace w2vbert {
namespace {

DIR* open_directory(const std::string& path) {
  for (;;) {
    DIR* const folder = ::opendir(path.c_str());
    if (folder != nullptr || errno != EINTR) return folder;
  }
}

}  // namespace

std::filesystem::directory_iterator first_entry(const std::string& directory,
                                                std::error_code& error) {
  for (;;) {
    std::filesystem::directory_iterator entry(directory, error);
    if (error != std::errc::interrupted) return entry;
  }
}

void for_each_entry(const std::string& directory,
                    const std::function<void(const dirent& entry, DIR* folder)>& use,
                    std::string_view expected) {
  const std::unique_ptr<DIR, int (*)(DIR*)> folder(open_directory(directory), ::closedir);
  if (!folder) fail_storage(directory, "cannot be listed", errno, expected);
  errno = 0;
  while (const dirent* entry = ::readdir(folder.get())) {
    use(*entry, folder.get());
    errno = 0;
  }
  if (errno != 0) fail_storage(directory, "cannot be listed", errno, expected);
}

std::vector<std::string> names_in(const std::string& directory) {
  std::vector<std::string> names;
  try {
    for_each_entry(directory, [&](const dirent& entry, DIR*) {
      const std::string_view name = entry.d_name;
      if (name != "." && name != "..") names.emplace_back(name);
    });
  } catch (const StorageError&) {  // what has been listed will do
  }
  std::sort(names.begin(), names.end());
  return names;
}

}  // namespace w2vbert
