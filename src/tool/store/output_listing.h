// The files in a run's directory, and which of them may be outputs.
#pragma once

#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "w2vbert/core/error.h"

namespace w2vbert::tool {

struct FolderEntry {
  enum class Kind { kFile, kFolder, kOther };  // itself: a link is another thing
  std::string name;
  Kind kind = Kind::kOther;
};

// Throws StorageError.
std::vector<FolderEntry> entries_of(const std::string& folder);

// Calls `output` with the name of each file in and below `directory` that ends in `ending`: regular
// files in folders, not what links lead to; also those whose names begin with a dot.
// `is_below_run`: it lies in or below a folder that has a run record of its own. `failed` is called
// for what is below and cannot be listed. Throws StorageError for `directory` itself.
void for_each_output(const std::string& directory, std::string_view ending,
                     const std::function<void(std::string name, bool is_below_run)>& output,
                     const std::function<void(const StorageError&)>& failed);

}  // namespace w2vbert::tool
