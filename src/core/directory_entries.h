// What stands in a directory. Torch-free.
#pragma once

#include <dirent.h>

#include <functional>
#include <string>
#include <string_view>

namespace w2vbert {

// Calls use(entry, folder) for each name, "." and ".." among them. Throws StorageError(directory)
// where it cannot be listed to its end.
void for_each_entry(const std::string& directory,
                    const std::function<void(const dirent& entry, DIR* folder)>& use,
                    std::string_view expected = "");

}  // namespace w2vbert
