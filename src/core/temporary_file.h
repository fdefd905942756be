// Files that are being written beside their places: their names, who writes them, and those that
// dead processes left. Torch-free.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "core/descriptor.h"
#include "core/file.h"

namespace w2vbert {

// A new file that is open for writing, in the directory of the file that it will be. It is locked
// (flock) for as long as this object lives: a lock dies with its owner, and other processes see it
// whatever their number means in their container. The file goes with the object.
class TemporaryFile {
 public:
  // For the file `path`. Throws StorageError(path).
  explicit TemporaryFile(const std::string& path);
  // In `directory`, for no file. Throws StorageError(directory).
  static TemporaryFile in(const std::string& directory);
  TemporaryFile(TemporaryFile&& other) noexcept;
  TemporaryFile& operator=(TemporaryFile&&) = delete;
  TemporaryFile(const TemporaryFile&) = delete;
  TemporaryFile& operator=(const TemporaryFile&) = delete;
  ~TemporaryFile();

  const std::string& path() const { return path_; }  // its own
  int descriptor() const { return descriptor_.number(); }
  // Returns 0, or what went wrong. The lock stays.
  int close() { return descriptor_.close(); }
  // Throws StorageError(path).
  void rename(const std::string& path);
  // There is nothing of that name any more: it was renamed or removed.
  void forget() { path_.clear(); }

 private:
  TemporaryFile(std::string path, Descriptor descriptor, Descriptor lock);
  struct Words;  // what an error says
  static TemporaryFile create(const std::string& path, const Words& words);

  std::string path_;  // empty: gone
  Descriptor descriptor_;
  Descriptor lock_;  // the same open file
};

// .<name>.<host>.<pid>.<random>.tmp, where <random> is 8 digits of the kernel's boot id, 8 of the
// namespace that <pid> is of, and 16 random ones; older names have these alone. `host` has dots
// replaced. What may be another's file, which was moved away from its place, ends in .aside
// instead, and has twice 16 digits that tell what becomes of it (AsideFate).
struct TemporaryName {
  std::string name;
  bool is_aside = false;
  bool is_cut = false;  // aside, and `name` is the begin of the file's name alone
  std::string removed;  // of AsideFate, 16 digits each
  std::string replaced;
  std::string host;
  std::int64_t pid = 0;
  std::string boot;           // empty: not told
  std::string pid_namespace;  // empty: not told
};
std::optional<TemporaryName> parse_temporary_name(std::string_view file_name);

// A name of that kind in the directory of `path`, that nothing has. Throws StorageError for a path
// that does not name a file.
std::string temporary_path(const std::string& path);
// Which file goes where a dead process left it under a name aside. Any other one is put back into
// its place, or stays aside where that is taken.
struct AsideFate {
  std::optional<FileIdentity> removed = {};
  std::optional<FileIdentity> replaced = {};  // where its place is taken; else it is put back, too
};
// A name to move the file `path` to, or to exchange it with, where only this process looks at it.
std::string aside_path(const std::string& path, const AsideFate& fate);

// Removes from `directory` (not from the ones below) the temporaries that are not being written any
// more. A lock says so on a file system of this machine, and for processes of this kernel on any
// other; where there are no locks, the number of a process of the same namespace does. What is
// left is removed after 24 hours by the directory's own clock, unless it is locked. What lies aside
// has the fate that its name tells. Returns how many are gone. Throws
// StorageError when the directory cannot be read; a temporary that another process removes
// meanwhile is no error.
std::size_t remove_stale_temporaries(const std::string& directory);

}  // namespace w2vbert
