#include "tool/store/writable.h"

#include <sys/stat.h>

#include <cerrno>
#include <utility>

#include "core/descriptor.h"
#include "core/file.h"
#include "core/resolved_path.h"
#include "core/temporary_file.h"
#include "tool/store/refuse_link.h"
#include "w2vbert/core/error.h"

namespace w2vbert::tool {
void ProtectedFiles::add(const std::string& path, std::string_view what) {
  if (path.empty()) return;
  File file;
  struct stat status {};
  if (::stat(path.c_str(), &status) == 0) file.inode = inode_of(status);
  file.resolved = resolved_path(path);
  file.what = what;
  files_.push_back(std::move(file));
}

void ProtectedFiles::check(const std::string& path, std::string_view setting) const {
  struct stat status {};
  const bool exists = ::stat(path.c_str(), &status) == 0;
  const std::string place = resolved_path(path);
  for (const File& file : files_) {
    const bool same_file = exists && file.inode == inode_of(status);
    if (!same_file && (place.empty() || file.resolved != place)) continue;
    throw UsageError(path, setting, "is " + file.what + " as well", "another place", setting);
  }
}

std::vector<std::string> ProtectedFiles::below(const std::string& directory) const {
  std::vector<std::string> names;
  const std::string place = join_path(resolved_path(directory), "");
  for (const File& file : files_) {
    if (file.resolved.starts_with(place)) names.push_back(file.resolved.substr(place.size()));
  }
  return names;
}

OutputPlace::OutputPlace(const std::string& path) : resolved_(resolved_path(path)) {
  struct stat status {};
  if (::stat(path.c_str(), &status) == 0) {
    inode_ = inode_of(status);
  } else if (!means_absent(errno) && errno != EACCES) {
    fail_storage(path, "cannot be looked at", errno);
  }
}

bool OutputPlace::is(const std::string& path) const {
  struct stat status {};
  if (::stat(path.c_str(), &status) == 0) {
    return inode_ == inode_of(status);
  }
  // A path is resolved with many calls: not for each of a long list.
  return file_name(path) == file_name(resolved_) && resolved_path(path) == resolved_;
}

OutputFile::OutputFile(std::string path, const std::string& setting, const ProtectedFiles& sources,
                       std::function<bool(const std::string& path)> is_earlier_result)
    : path_(std::move(path)), is_earlier_result_(std::move(is_earlier_result)) {
  if (path_.empty() || path_.ends_with('/')) {
    throw StorageError(path_, "", "is no file name", "the name of a file");
  }
  sources.check(path_, setting);
  look();
  const std::string directory = parent_path(path_);
  (void)try_directory(directory);
  try {
    (void)remove_stale_temporaries(directory);  // of calls that were killed
  } catch (const StorageError&) {
    // A directory that may be written but not listed.
  }
}

void OutputFile::look() {
  struct stat status {};
  if (::lstat(path_.c_str(), &status) != 0) {
    if (errno != ENOENT) fail_storage(path_, "cannot be looked at", errno, "the name of a file");
    seen_.reset();
    return;
  }
  const FileIdentity found = identity_of(status);
  if (seen_ == found) return;
  constexpr std::string_view kFile = "the name of a file";
  if (S_ISLNK(status.st_mode)) refuse_link(path_, kFile);
  if (!S_ISREG(status.st_mode)) throw StorageError(path_, "", "is no regular file", kFile);
  if (status.st_size > 0 && !is_earlier_result_(path_)) {
    throw StorageError(path_, "", "is there already, and not a result of this command",
                       "the name of another file");
  }
  seen_ = found;
}

void OutputFile::put(StagedFile file) {
  look();
  file.put_in_place_of(seen_);
}

}  // namespace w2vbert::tool
