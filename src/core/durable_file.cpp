#include "core/durable_file.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <climits>
#include <cstdio>
#include <cstring>
#include <utility>
#include <vector>

#include "core/exclusive_name.h"
#include "core/file.h"
#include "core/open_file.h"
#include "core/text.h"
#include "w2vbert/core/error.h"

namespace w2vbert {
namespace {

using Pieces = std::span<const std::span<const std::byte>>;

constexpr std::size_t kBlockBytes = 1 << 16;

// Nothing that can be read as a file is there.
struct NoFile : StorageError {
  using StorageError::StorageError;
};

// Whether both are regular files with the same bytes. Throws StorageError where one of them cannot
// be read: that says nothing of what it holds.
bool are_equal(const std::string& path, const std::string& other) try {
  const auto a = InputFile::open<NoFile, StorageError>(path);
  const auto b = InputFile::open<NoFile, StorageError>(other);
  if (a.size() != b.size()) return false;
  std::vector<std::byte> block_a(kBlockBytes), block_b(kBlockBytes);
  for (std::uint64_t at = 0; at < a.size();) {
    const auto bytes =
        static_cast<std::size_t>(std::min<std::uint64_t>(kBlockBytes, a.size() - at));
    a.read_at(at, block_a.data(), bytes);
    b.read_at(at, block_b.data(), bytes);
    if (std::memcmp(block_a.data(), block_b.data(), bytes) != 0) return false;
    at += bytes;
  }
  return true;
} catch (const NoFile&) {
  return false;
}

// Under the name of a temporary a file that is not locked looks like a dead process's.
Descriptor lock_file_at(const std::string& path) {
  Descriptor file(open_file(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC));
  // Where it cannot be locked, its name is all that tells.
  (void)::flock(file.number(), LOCK_EX | LOCK_NB);
  return file;
}

// A file that was moved away from its place: what is looked at there is what is removed or put
// back, whatever other processes put into the place.
class MovedAside {
 public:
  // Throws StorageError, here and below.
  MovedAside(std::string path, std::string aside)
      : path_(std::move(path)), aside_(std::move(aside)), lock_(lock_file_at(path_)) {
    if (::rename(path_.c_str(), aside_.c_str()) == 0) {
      found_ = identity_at(aside_);
    } else if (errno != ENOENT) {
      fail_storage(path_, "cannot be moved aside", errno);
    }
  }

  const std::optional<FileIdentity>& found() const { return found_; }  // nothing: it was gone
  void put_back() const {
    const int error = give_name(aside_, path_).error;
    if (error != 0 && !(error == EEXIST && are_equal(path_, aside_))) {
      fail_storage(path_, "cannot be put back from " + quote_bytes(aside_), error);
    }
    remove();
  }
  void remove() const {
    struct stat status {};
    if (::unlink(aside_.c_str()) != 0 && ::lstat(aside_.c_str(), &status) == 0) {
      fail_storage(path_, "cannot be removed", errno);
    }
  }

 private:
  std::string path_;
  std::string aside_;
  Descriptor lock_;
  std::optional<FileIdentity> found_;
};

// What is at `path` is not what was looked at.
Committed accept_equal(const std::string& temporary, const std::string& path) {
  if (are_equal(path, temporary)) return Committed::kWasThere;
  throw StorageError(path, "", "is there already and holds something else",
                     "no file, or the one that was looked at");
}

Committed take_free_place(const std::string& temporary, const std::string& path) {
  const int error = give_name(temporary, path).error;
  if (error == EEXIST) return accept_equal(temporary, path);
  if (error != 0) fail_storage(path, "cannot be put in place", error);
  return Committed::kWritten;
}

// Without a rename that exchanges two files (network file systems).
Committed take_place_by_moving(const std::string& temporary, const std::string& path,
                               const FileIdentity& seen) {
  const MovedAside moved(path, aside_path(path, {.replaced = seen}));
  if (moved.found() && *moved.found() != seen) {
    moved.put_back();
    return accept_equal(temporary, path);
  }
  Committed committed = Committed::kWritten;
  try {
    committed = take_free_place(temporary, path);
  } catch (const StorageError&) {
    if (moved.found()) moved.put_back();
    throw;
  }
  if (moved.found()) moved.remove();
  return committed;
}

// In the place of a file that was looked at.
Committed take_place_of(TemporaryFile& temporary, const std::string& path,
                        const FileIdentity& seen) {
  const Descriptor lock = lock_file_at(path);
  // What is exchanged may be another's file: a kill behind that must not leave it under the name of
  // a temporary.
  temporary.rename(aside_path(path, {.removed = identity_at(temporary.path()), .replaced = seen}));
  const auto exchange = [&] {
    return ::renameat2(AT_FDCWD, temporary.path().c_str(), AT_FDCWD, path.c_str(),
                       RENAME_EXCHANGE) == 0
               ? 0
               : errno;
  };
  if (const int error = exchange()) {
    if (error == ENOENT) return take_free_place(temporary.path(), path);
    if (error != EINVAL && error != ENOSYS && error != EOPNOTSUPP) {
      fail_storage(path, "cannot be put in place", error);
    }
    return take_place_by_moving(temporary.path(), path, seen);
  }
  struct stat status {};
  const int error = ::lstat(temporary.path().c_str(), &status) == 0 ? 0 : errno;
  if (error == 0 && identity_of(status) == seen) return Committed::kWritten;
  if (const int stuck = exchange()) {
    const std::string left = temporary.path();
    temporary.forget();
    fail_storage(path, "cannot be put back from " + quote_bytes(left), stuck);
  }
  if (error != 0) fail_storage(path, "cannot be looked at", error);
  return accept_equal(temporary.path(), path);
}

void replace(const std::string& temporary, const std::string& path) {
  if (::rename(temporary.c_str(), path.c_str()) != 0)
    fail_storage(path, "cannot be put in place", errno);
}

void remove_temporary(const std::string& temporary, const std::string& path) {
  struct stat status {};
  if (::unlink(temporary.c_str()) != 0 &&
      (::lstat(temporary.c_str(), &status) == 0 || errno != ENOENT)) {
    fail_storage(path, "its temporary cannot be removed", errno);
  }
}

void sync_directory(const std::string& directory, const std::string& path) {
  Descriptor folder(open_file(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (folder.number() < 0) fail_storage(path, "its directory cannot be opened", errno);
  // EINVAL: this file system has no fsync of directories.
  if (::fsync(folder.number()) != 0 && errno != EINVAL) {
    fail_storage(path, "its directory cannot be synchronised", errno);
  }
}

// Durably, in the place of `seen` or of nothing.
Committed take_place(TemporaryFile& temporary, const std::string& path,
                     const std::optional<FileIdentity>& seen) {
  const Committed committed =
      seen ? take_place_of(temporary, path, *seen) : take_free_place(temporary.path(), path);
  remove_temporary(temporary.path(), path);
  temporary.forget();
  sync_directory(directory_of(path), path);
  return committed;
}

}  // namespace

UnfinishedFile::UnfinishedFile(const std::string& path) : path_(path), temporary_(path) {}

void UnfinishedFile::append(std::span<const std::byte> bytes) {
  write_all(temporary_.descriptor(), bytes, path_);
}

void UnfinishedFile::overwrite(std::uint64_t offset, std::span<const std::byte> bytes) {
  while (!bytes.empty()) {
    const ssize_t count =
        ::pwrite(temporary_.descriptor(), bytes.data(), bytes.size(), static_cast<off_t>(offset));
    if (count < 0 && errno == EINTR) continue;
    if (count <= 0) fail_storage(path_, "cannot be written", count == 0 ? ENOSPC : errno);
    bytes = bytes.subspan(static_cast<std::size_t>(count));
    offset += static_cast<std::uint64_t>(count);
  }
}

void UnfinishedFile::finish() {
  // A failed fsync is never tried again: the kernel has dropped the pages and would report success.
  if (::fsync(temporary_.descriptor()) != 0) fail_storage(path_, "cannot be synchronised", errno);
  if (const int error = temporary_.close()) fail_storage(path_, "cannot be closed", error);
}

Committed UnfinishedFile::commit(IfPresent if_present, const std::function<void()>& last_look) {
  if (if_present == IfPresent::kCompare) return commit_in_place_of(std::nullopt, last_look);
  finish();
  if (last_look) last_look();
  replace(temporary_.path(), path_);
  temporary_.forget();
  sync_directory(directory_of(path_), path_);
  return Committed::kWritten;
}

Committed UnfinishedFile::commit_in_place_of(const std::optional<FileIdentity>& seen,
                                             const std::function<void()>& last_look) {
  finish();
  if (last_look) last_look();
  return take_place(temporary_, path_, seen);
}

TemporaryFile StagedFile::write(const std::string& path, Pieces pieces) {
  UnfinishedFile file(path);
  for (const auto& piece : pieces) file.append(piece);
  file.finish();
  return std::move(file.temporary_);
}

StagedFile::StagedFile(const std::string& path, Pieces pieces)
    : path_(path), temporary_(write(path, pieces)) {}

StagedFile::StagedFile(const std::string& path, std::string_view text)
    : StagedFile(path, std::array<std::span<const std::byte>, 1>{std::as_bytes(std::span(text))}) {}

void StagedFile::put_in_place() {
  replace(temporary_.path(), path_);
  temporary_.forget();
}

Committed StagedFile::put_in_place_of(const std::optional<FileIdentity>& seen) {
  return take_place(temporary_, path_, seen);
}

bool remove_what_was_seen(const std::string& path, const FileIdentity& seen) {
  const std::optional<FileIdentity> there = identity_at(path);
  if (!there) return true;
  if (*there != seen) return false;
  // Another process may have put another one there since.
  const MovedAside moved(path, aside_path(path, {.removed = seen}));
  if (!moved.found()) return true;
  const bool is_seen = *moved.found() == seen;
  is_seen ? moved.remove() : moved.put_back();
  return is_seen;
}

void synchronise_directory(const std::string& directory) { sync_directory(directory, directory); }

std::vector<std::string> make_directories(const std::string& path, std::string_view within) {
  // Said before anything is made: a path that is too long in all fails at its last component.
  if (path.size() >= PATH_MAX) fail_storage(path, "cannot be made", ENAMETOOLONG);
  std::vector<std::string> made;
  try {
    for (std::size_t end = path.find('/', within.size() + 1);; end = path.find('/', end + 1)) {
      const std::string part = path.substr(0, end);
      if (::mkdir(part.c_str(), 0777) == 0) {
        made.push_back(part);
        sync_directory(parent_path(part), path);
      } else if (errno != EEXIST) {
        const int error = errno;
        // mkdir of a directory that is there may give EROFS or EACCES as well.
        if (!is_directory(part)) fail_storage(path, "cannot be made", error);
      }
      if (end == std::string::npos) break;
    }
    struct stat status {};
    if (::stat(path.c_str(), &status) != 0) fail_storage(path, "cannot be made", errno);
    if (!S_ISDIR(status.st_mode)) {
      throw StorageError(path, "", "is no directory", "a directory that can be written");
    }
  } catch (...) {
    for (auto it = made.rbegin(); it != made.rend(); ++it) ::rmdir(it->c_str());
    throw;
  }
  return made;
}

Committed write_durably(const std::string& path, Pieces pieces, IfPresent if_present) {
  UnfinishedFile file(path);
  for (const auto& piece : pieces) file.append(piece);
  return file.commit(if_present);
}

Committed write_durably(const std::string& path, std::string_view text, IfPresent if_present) {
  const std::array<std::span<const std::byte>, 1> pieces = {std::as_bytes(std::span(text))};
  return write_durably(path, pieces, if_present);
}

Placement try_directory(const std::string& directory) {
  constexpr std::string_view kExpected = "a directory that can be written";
  const auto check = [&](int error, std::string_view problem) {
    if (error != 0) fail_storage(directory, problem, error, kExpected);
  };
  TemporaryFile probe = TemporaryFile::in(directory);
  const std::array<std::byte, 4096> block{};
  check(try_write_all(probe.descriptor(), block), "cannot be written");
  check(::fsync(probe.descriptor()) == 0 ? 0 : errno, "cannot be written");
  check(probe.close(), "cannot be written");
  // A name of that kind, too: what a kill leaves is found at the next start.
  const std::string name = temporary_path(join_path(directory, "w2vbert"));
  const Named named = give_name(probe.path(), name);
  check(named.error, "no file can be put in place in it");
  check(::unlink(name.c_str()) == 0 ? 0 : errno, "no file can be removed from it");
  return named.placement;
}

}  // namespace w2vbert
