#include "core/directory_entries.h"

#include <cerrno>
#include <memory>

#include "core/descriptor.h"

namespace w2vbert {

void for_each_entry(const std::string& directory,
                    const std::function<void(const dirent& entry, DIR* folder)>& use,
                    std::string_view expected) {
  const std::unique_ptr<DIR, int (*)(DIR*)> folder(::opendir(directory.c_str()), ::closedir);
  if (!folder) fail_storage(directory, "cannot be listed", errno, expected);
  errno = 0;
  while (const dirent* entry = ::readdir(folder.get())) {
    use(*entry, folder.get());
    errno = 0;
  }
  if (errno != 0) fail_storage(directory, "cannot be listed", errno, expected);
}

}  // namespace w2vbert
