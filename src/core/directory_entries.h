// What stands in a directory. Torch-free.
#pragma once

#include <dirent.h>

#include <filesystem>
#include <functional>
#include <string>
#include <string_view>
#include <system_error>
#include <vector>

namespace w2vbert {

// Calls use(entry, folder) for each name, "." and ".." among them. Throws StorageError(directory)
// where it cannot be listed to its end.
void for_each_entry(const std::string& directory,
                    const std::function<void(const dirent& entry, DIR* folder)>& use,
                    std::string_view expected = "");

// The begin of its entries; a signal does not end the opening, as in open_file().
std::filesystem::directory_iterator first_entry(const std::string& directory,
                                                std::error_code& error);

// The names in it in their order, without "." and "..", as far as it can be listed: for what
// messages tell besides.
std::vector<std::string> names_in(const std::string& directory);

}  // namespace w2vbert
