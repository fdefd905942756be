#include "tool/store/output_listing.h"

#include <fcntl.h>
#include <sys/stat.h>

#include <algorithm>
#include <utility>

#include "core/directory_entries.h"
#include "core/file.h"
#include "tool/store/run_directory.h"

namespace w2vbert::tool {
namespace {

FolderEntry::Kind kind_of(const dirent& entry, DIR* folder) {
  unsigned char type = entry.d_type;
  if (type == DT_UNKNOWN) {  // some file systems do not say it here
    struct stat status {};
    if (::fstatat(::dirfd(folder), entry.d_name, &status, AT_SYMLINK_NOFOLLOW) == 0) {
      type = static_cast<unsigned char>(IFTODT(status.st_mode));
    }
  }
  if (type == DT_REG) return FolderEntry::Kind::kFile;
  return type == DT_DIR ? FolderEntry::Kind::kFolder : FolderEntry::Kind::kOther;
}

bool has_run_record(const std::string& folder, const std::vector<FolderEntry>& entries) {
  const bool has_file = std::any_of(entries.begin(), entries.end(), [](const FolderEntry& entry) {
    return entry.kind == FolderEntry::Kind::kFile && entry.name == kRunRecordName;
  });
  if (!has_file) return false;
  try {
    (void)read_run_record(folder);
    return true;
  } catch (const UsageError&) {  // another program's file
    return false;
  } catch (const StorageError&) {
    return false;
  }
}

}  // namespace

std::vector<FolderEntry> entries_of(const std::string& folder) {
  std::vector<FolderEntry> entries;
  const auto add = [&](const dirent& entry, DIR* open) {
    std::string name = entry.d_name;
    if (name != "." && name != "..") entries.push_back({std::move(name), kind_of(entry, open)});
  };
  for_each_entry(folder, add, "a directory that can be read");
  return entries;
}

void for_each_output(const std::string& directory, std::string_view ending,
                     const std::function<void(std::string name, bool is_below_run)>& output,
                     const std::function<void(const StorageError&)>& failed) {
  struct Folder {
    std::string name;  // below `directory`, with a slash
    bool is_below_run = false;
  };
  std::vector<Folder> folders = {{""}};
  while (!folders.empty()) {
    auto [folder, is_below_run] = std::move(folders.back());
    folders.pop_back();
    std::vector<FolderEntry> entries;
    try {
      entries = entries_of(join_path(directory, folder));
    } catch (const StorageError& error) {
      if (folder.empty()) throw;
      failed(error);
    }
    if (!folder.empty() && has_run_record(join_path(directory, folder), entries)) {
      is_below_run = true;
    }
    for (const FolderEntry& entry : entries) {
      std::string name = folder + entry.name;
      if (entry.kind == FolderEntry::Kind::kFolder) {
        folders.push_back({std::move(name) + "/", is_below_run});
      } else if (entry.kind == FolderEntry::Kind::kFile && entry.name.size() > ending.size() &&
                 entry.name.ends_with(ending)) {
        name.resize(name.size() - ending.size());
        output(std::move(name), is_below_run);
      }
    }
  }
}

}  // namespace w2vbert::tool
