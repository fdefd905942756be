#include "core/durable_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <climits>
#include <cstdio>
#include <cstring>
#include <utility>
#include <vector>

#include "core/file.h"
#include "core/file_lock.h"
#include "core/text.h"
#include "w2vbert/core/error.h"

namespace w2vbert {
namespace {

using Pieces = std::span<const std::span<const std::byte>>;

constexpr std::size_t kBlockBytes = 1 << 16;

// With the slash, or "./".
std::string directory_of(const std::string& path) {
  const std::string_view directory = directory_prefix(path);
  return directory.empty() ? "./" : std::string(directory);
}

// As many bytes as there are, up to the size of `block`; 0 also for an error.
std::size_t read_block(const Descriptor& file, std::span<std::byte> block) {
  std::size_t total = 0;
  while (total < block.size()) {
    const ssize_t got = ::read(file.number(), block.data() + total, block.size() - total);
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) break;
    total += static_cast<std::size_t>(got);
  }
  return total;
}

// Whether both are regular files with the same bytes.
bool are_equal(const std::string& path, const std::string& other) {
  const Descriptor a(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  const Descriptor b(::open(other.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  struct stat of_a {
  }, of_b{};
  if (::fstat(a.number(), &of_a) != 0 || ::fstat(b.number(), &of_b) != 0 ||
      !S_ISREG(of_a.st_mode) || !S_ISREG(of_b.st_mode) || of_a.st_size != of_b.st_size) {
    return false;
  }
  std::vector<std::byte> block_a(kBlockBytes), block_b(kBlockBytes);
  for (off_t left = of_a.st_size; left > 0;) {
    const std::size_t bytes = read_block(a, block_a);
    if (bytes == 0 || read_block(b, block_b) != bytes ||
        std::memcmp(block_a.data(), block_b.data(), bytes) != 0) {
      return false;
    }
    left -= static_cast<off_t>(bytes);
  }
  return true;
}

// The reply to link() may be lost on a network file system although the server did it: then the
// temporary has two names.
bool has_second_name(const std::string& temporary) {
  struct stat status {};
  return ::stat(temporary.c_str(), &status) == 0 && status.st_nlink == 2;
}

// Does without hard links and without a rename that refuses to replace. Returns 0, or errno.
int rename_under_lock(const std::string& temporary, const std::string& path) {
  const Descriptor folder(::open(directory_of(path).c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  // Where the directory cannot be locked, the look alone is left.
  (void)lock_exclusively(folder.number());
  struct stat status {};
  if (::lstat(path.c_str(), &status) == 0) return EEXIST;
  if (errno != ENOENT) return errno;
  return ::rename(temporary.c_str(), path.c_str()) == 0 ? 0 : errno;
}

struct Named {
  int error = 0;
  Placement placement = Placement::kExclusive;
};

// Gives the temporary the final name without overwriting another file.
Named give_name(const std::string& temporary, const std::string& path) {
  if (::link(temporary.c_str(), path.c_str()) == 0) return {};
  const int error = errno;
  if (has_second_name(temporary)) return {};
  // No hard links here (FAT, some FUSE and network file systems).
  if (error != EPERM && error != EOPNOTSUPP && error != ENOSYS && error != EMLINK) return {error};
  if (::renameat2(AT_FDCWD, temporary.c_str(), AT_FDCWD, path.c_str(), RENAME_NOREPLACE) == 0) {
    return {};
  }
  if (errno != EINVAL && errno != ENOSYS && errno != EOPNOTSUPP) return {errno};
  return {rename_under_lock(temporary, path), Placement::kUnderLock};
}

void replace(const std::string& temporary, const std::string& path) {
  if (::rename(temporary.c_str(), path.c_str()) != 0)
    fail_storage(path, "cannot be put in place", errno);
}

void sync_directory(const std::string& directory, const std::string& path) {
  Descriptor folder(::open(directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (folder.number() < 0) fail_storage(path, "its directory cannot be opened", errno);
  // EINVAL: this file system has no fsync of directories.
  if (::fsync(folder.number()) != 0 && errno != EINVAL) {
    fail_storage(path, "its directory cannot be synchronised", errno);
  }
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
  finish();
  if (last_look) last_look();
  Committed committed = Committed::kWritten;
  const std::string& temporary = temporary_.path();
  if (if_present == IfPresent::kReplace) {
    replace(temporary, path_);
  } else {
    if (const int error = give_name(temporary, path_).error) {
      if (error != EEXIST) fail_storage(path_, "cannot be put in place", error);
      if (!are_equal(path_, temporary)) {
        throw StorageError(path_, "", "is there already and holds something else", "no file");
      }
      committed = Committed::kWasThere;
    }
    struct stat status {};
    if (::unlink(temporary.c_str()) != 0 &&
        (::lstat(temporary.c_str(), &status) == 0 || errno != ENOENT)) {
      fail_storage(path_, "its temporary cannot be removed", errno);
    }
  }
  temporary_.forget();
  sync_directory(directory_of(path_), path_);
  return committed;
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

bool remove_what_was_seen(const std::string& path, const FileIdentity& seen) {
  const auto look = [](const std::string& at, FileIdentity& found) {
    struct stat status {};
    if (::lstat(at.c_str(), &status) != 0) {
      if (errno == ENOENT) return false;
      fail_storage(at, "cannot be looked at", errno);
    }
    found = identity_of(status);
    return true;
  };
  FileIdentity found;
  if (!look(path, found)) return true;
  if (found != seen) return false;
  // Another process may have put another one there since: only what has been moved away, to a name
  // that nothing else uses, can be looked at and removed without a gap.
  const std::string aside = temporary_path(path);
  if (::rename(path.c_str(), aside.c_str()) != 0) {
    if (errno == ENOENT) return true;
    fail_storage(path, "cannot be removed", errno);
  }
  const bool is_seen = look(aside, found) && found == seen;
  if (!is_seen) {
    const int error = give_name(aside, path).error;
    if (error != 0 && !(error == EEXIST && are_equal(path, aside))) {
      fail_storage(path, "cannot be put back from " + quote_bytes(aside), error);
    }
  }
  struct stat status {};
  if (::unlink(aside.c_str()) != 0 && ::lstat(aside.c_str(), &status) == 0) {
    fail_storage(path, "cannot be removed", errno);
  }
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
