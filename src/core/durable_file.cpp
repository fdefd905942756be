#include "core/durable_file.h"

#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <memory>
#include <utility>
#include <vector>

#include "core/file.h"
#include "core/host_name.h"
#include "core/parse_number.h"
#include "core/text.h"
#include "w2vbert/core/error.h"

namespace w2vbert {
namespace {

using Pieces = std::span<const std::span<const std::byte>>;

constexpr std::size_t kBlockBytes = 1 << 16;
constexpr std::size_t kMaxNameBytes = 255;  // NAME_MAX of the usual file systems
constexpr std::size_t kMaxHostBytes = 64;
constexpr std::string_view kTemporarySuffix = ".tmp";
constexpr std::int64_t kStaleSeconds = 24 * 60 * 60;

struct SplitPath {
  std::string directory;  // with the slash, or "./"
  std::string name;
};

SplitPath split(const std::string& path) {
  SplitPath parts{std::string(directory_prefix(path)), std::string(file_name(path))};
  if (parts.directory.empty()) parts.directory = "./";
  if (parts.name.empty() || parts.name == "." || parts.name == ".." ||
      path.find('\0') != std::string::npos) {
    throw StorageError(path, "", "is no file name");
  }
  return parts;
}

// Dots separate the parts of a temporary's name.
std::string host_of_temporaries() {
  std::string host = host_name();
  std::replace_if(
      host.begin(), host.end(), [](char c) { return c == '.' || c == '/'; }, '-');
  host.resize(std::min(host.size(), kMaxHostBytes));
  return host.empty() ? "unknown" : host;
}

std::string temporary_name(const std::string& name) {
  std::uint64_t random = 0;
  if (::getrandom(&random, sizeof random, 0) != sizeof random) {
    // Only uniqueness within this process is left to care for; O_EXCL guards the rest.
    random = reinterpret_cast<std::uintptr_t>(&random);
  }
  std::array<char, 17> digits{};
  std::snprintf(digits.data(), digits.size(), "%016llx", static_cast<unsigned long long>(random));
  const std::string tail = "." + host_of_temporaries() + "." + std::to_string(::getpid()) + "." +
                           digits.data() + std::string(kTemporarySuffix);
  std::size_t kept = std::min(name.size(), kMaxNameBytes - 1 - tail.size());
  // Some file systems refuse names that are not UTF-8: do not cut a character in two.
  while (kept > 0 && kept < name.size() &&
         (static_cast<unsigned char>(name[kept]) & 0xC0) == 0x80) {
    --kept;
  }
  return "." + name.substr(0, kept) + tail;
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

// Gives the temporary the final name without ever overwriting one. Returns 0, or errno.
int link_as(const std::string& temporary, const std::string& path) {
  if (::link(temporary.c_str(), path.c_str()) == 0) return 0;
  const int error = errno;
  if (has_second_name(temporary)) return 0;
  if (error == EPERM || error == EOPNOTSUPP || error == ENOSYS || error == EMLINK) {
    // No hard links here (FAT, some FUSE file systems): a rename that does not replace is as good.
    if (::renameat2(AT_FDCWD, temporary.c_str(), AT_FDCWD, path.c_str(), RENAME_NOREPLACE) == 0) {
      return 0;
    }
    if (errno == EEXIST) return EEXIST;
  }
  return error;
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

UnfinishedFile::UnfinishedFile(const std::string& path)
    : path_(path),
      temporary_(split(path).directory + temporary_name(split(path).name)),
      descriptor_(
          ::open(temporary_.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0666)) {
  if (descriptor_.number() < 0) fail_storage(path, "cannot be created", errno);
}

UnfinishedFile::~UnfinishedFile() {
  if (!temporary_.empty()) ::unlink(temporary_.c_str());
}

void UnfinishedFile::append(std::span<const std::byte> bytes) {
  write_all(descriptor_.number(), bytes, path_);
}

void UnfinishedFile::overwrite(std::uint64_t offset, std::span<const std::byte> bytes) {
  while (!bytes.empty()) {
    const ssize_t count =
        ::pwrite(descriptor_.number(), bytes.data(), bytes.size(), static_cast<off_t>(offset));
    if (count < 0 && errno == EINTR) continue;
    if (count <= 0) fail_storage(path_, "cannot be written", count == 0 ? ENOSPC : errno);
    bytes = bytes.subspan(static_cast<std::size_t>(count));
    offset += static_cast<std::uint64_t>(count);
  }
}

void UnfinishedFile::finish() {
  // A failed fsync is never tried again: the kernel has dropped the pages and would report success.
  if (::fsync(descriptor_.number()) != 0) fail_storage(path_, "cannot be synchronised", errno);
  if (const int error = descriptor_.close()) fail_storage(path_, "cannot be closed", error);
}

Committed UnfinishedFile::commit(IfPresent if_present, const std::function<void()>& last_look) {
  finish();
  if (last_look) last_look();
  Committed committed = Committed::kWritten;
  if (if_present == IfPresent::kReplace) {
    replace(temporary_, path_);
  } else {
    if (const int error = link_as(temporary_, path_)) {
      if (error != EEXIST) fail_storage(path_, "cannot be put in place", error);
      if (!are_equal(path_, temporary_)) {
        throw StorageError(path_, "", "is there already and holds something else", "no file");
      }
      committed = Committed::kWasThere;
    }
    struct stat status {};
    if (::unlink(temporary_.c_str()) != 0 &&
        (::lstat(temporary_.c_str(), &status) == 0 || errno != ENOENT)) {
      fail_storage(path_, "its temporary cannot be removed", errno);
    }
  }
  temporary_.clear();
  sync_directory(split(path_).directory, path_);
  return committed;
}

StagedFile::StagedFile(const std::string& path, Pieces pieces) : path_(path) {
  UnfinishedFile file(path);
  for (const auto& piece : pieces) file.append(piece);
  file.finish();
  temporary_ = std::exchange(file.temporary_, {});
}

StagedFile::StagedFile(const std::string& path, std::string_view text)
    : StagedFile(path, std::array<std::span<const std::byte>, 1>{std::as_bytes(std::span(text))}) {}

StagedFile::StagedFile(StagedFile&& other) noexcept
    : path_(std::move(other.path_)), temporary_(std::exchange(other.temporary_, {})) {}

StagedFile::~StagedFile() {
  if (!temporary_.empty()) ::unlink(temporary_.c_str());
}

void StagedFile::put_in_place() {
  replace(temporary_, path_);
  temporary_.clear();
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
  const SplitPath parts = split(path);
  const std::string aside = parts.directory + temporary_name(parts.name);
  if (::rename(path.c_str(), aside.c_str()) != 0) {
    if (errno == ENOENT) return true;
    fail_storage(path, "cannot be removed", errno);
  }
  const bool is_seen = look(aside, found) && found == seen;
  if (!is_seen) {
    int error = link_as(aside, path);
    // Neither links nor renames that do not replace: a third process would have had to be as fast.
    if (error != 0 && error != EEXIST && !exists(path)) {
      error = ::rename(aside.c_str(), path.c_str()) == 0 ? 0 : errno;
    }
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

std::vector<std::string> make_directories(const std::string& path) {
  std::vector<std::string> made;
  for (std::size_t end = path.find('/', 1);; end = path.find('/', end + 1)) {
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

std::optional<TemporaryName> parse_temporary_name(std::string_view name) {
  if (!name.starts_with('.') || !name.ends_with(kTemporarySuffix)) return std::nullopt;
  name.remove_suffix(kTemporarySuffix.size());
  const auto take_last = [&name]() -> std::string_view {
    const std::size_t dot = name.rfind('.');
    if (dot == std::string_view::npos) return {};
    const std::string_view part = name.substr(dot + 1);
    name.remove_suffix(part.size() + 1);
    return part;
  };
  const std::string_view random = take_last();
  const std::string_view pid = take_last();
  const std::string_view host = take_last();
  const TemporaryName parsed{std::string(host), parse_number<std::int64_t>(pid).value_or(0)};
  const bool random_is_hex =
      random.size() == 16 && random.find_first_not_of(kHexDigits) == std::string_view::npos;
  if (!random_is_hex || host.empty() || parsed.pid <= 0 || name.size() < 2) return std::nullopt;
  return parsed;
}

std::size_t remove_stale_temporaries(const std::string& directory) {
  const std::string prefix = join_path(directory, "");
  const std::unique_ptr<DIR, int (*)(DIR*)> folder(::opendir(prefix.c_str()), ::closedir);
  if (!folder) fail_storage(directory, "cannot be listed", errno);
  const std::string host = host_of_temporaries();

  struct Candidate {
    std::string path;
    bool dead;
    std::int64_t modified;
  };
  std::vector<Candidate> candidates;
  errno = 0;
  while (const dirent* entry = ::readdir(folder.get())) {
    if (const auto parsed = parse_temporary_name(entry->d_name)) {
      const std::string path = prefix + entry->d_name;
      struct stat status {};
      if (::lstat(path.c_str(), &status) != 0 || !S_ISREG(status.st_mode)) continue;
      const bool dead =
          parsed->host == host && ::kill(static_cast<pid_t>(parsed->pid), 0) != 0 && errno == ESRCH;
      candidates.push_back({path, dead, status.st_mtime});
    }
    errno = 0;
  }
  if (errno != 0) fail_storage(directory, "cannot be listed", errno);
  if (candidates.empty()) return 0;

  // The directory's own clock is the time its server gives to a file made now: on a network file
  // system this machine's clock says nothing about the age of the others.
  std::int64_t now = 0;
  const std::string probe = prefix + temporary_name("clock");
  {
    const Descriptor file(::open(probe.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666));
    struct stat status {};
    if (file.number() >= 0 && ::fstat(file.number(), &status) == 0) now = status.st_mtime;
    if (file.number() >= 0) ::unlink(probe.c_str());
  }
  std::size_t removed = 0;
  for (const Candidate& candidate : candidates) {
    const bool old = now != 0 && now - candidate.modified > kStaleSeconds;
    if ((candidate.dead || old) && ::unlink(candidate.path.c_str()) == 0) ++removed;
  }
  return removed;
}

}  // namespace w2vbert
