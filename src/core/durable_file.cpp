#include "w2vbert/core/durable_file.h"

#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <cstdio>
#include <cstring>
#include <memory>
#include <system_error>
#include <utility>
#include <vector>

#include "w2vbert/core/error.h"

namespace w2vbert {
namespace {

using Pieces = std::span<const std::span<const std::byte>>;

constexpr std::size_t kMaxTransferBytes = 0x7ffff000;  // one write(2) moves at most this much
constexpr std::size_t kMaxNameBytes = 255;             // NAME_MAX of the usual file systems
constexpr std::size_t kMaxHostBytes = 64;
constexpr std::string_view kTemporarySuffix = ".tmp";
constexpr std::int64_t kStaleSeconds = 24 * 60 * 60;

[[noreturn]] void fail(const std::string& path, const std::string& what, int error) {
  throw StorageError(path, "", what + ": " + std::generic_category().message(error));
}

// Owns a descriptor; close() is for those who must know whether it worked.
class Descriptor {
 public:
  explicit Descriptor(int fd) : fd_(fd) {}
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  ~Descriptor() {
    if (fd_ >= 0) ::close(fd_);
  }
  int get() const { return fd_; }
  // Quota and network errors can come here. Never tried again: on Linux the descriptor is gone
  // whatever close() says.
  int close() {
    const int fd = fd_;
    fd_ = -1;
    return ::close(fd) == 0 || errno == EINTR ? 0 : errno;
  }

 private:
  int fd_;
};

// The temporary's name, removed again unless it has been handed on.
class Temporary {
 public:
  explicit Temporary(std::string path) : path_(std::move(path)) {}
  Temporary(const Temporary&) = delete;
  Temporary& operator=(const Temporary&) = delete;
  ~Temporary() {
    if (present_) ::unlink(path_.c_str());
  }
  const std::string& path() const { return path_; }
  void gone() { present_ = false; }

 private:
  std::string path_;
  bool present_ = true;
};

struct SplitPath {
  std::string directory;  // with the slash, or "./"
  std::string name;
};

SplitPath split(const std::string& path) {
  const std::size_t slash = path.rfind('/');
  SplitPath parts = slash == std::string::npos
                        ? SplitPath{"./", path}
                        : SplitPath{path.substr(0, slash + 1), path.substr(slash + 1)};
  if (parts.name.empty() || parts.name == "." || parts.name == ".." ||
      path.find('\0') != std::string::npos) {
    throw StorageError(path, "", "is no file name");
  }
  return parts;
}

std::string host_name() {
  std::array<char, 256> buffer{};
  if (::gethostname(buffer.data(), buffer.size() - 1) != 0) return "unknown";
  std::string host(buffer.data());
  // Dots separate the parts of a temporary's name.
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
  const std::string tail = "." + host_name() + "." + std::to_string(::getpid()) + "." +
                           digits.data() + std::string(kTemporarySuffix);
  std::size_t kept = std::min(name.size(), kMaxNameBytes - 1 - tail.size());
  // Some file systems refuse names that are not UTF-8: do not cut a character in two.
  while (kept > 0 && kept < name.size() &&
         (static_cast<unsigned char>(name[kept]) & 0xC0) == 0x80) {
    --kept;
  }
  return "." + name.substr(0, kept) + tail;
}

void write_all(int fd, std::span<const std::byte> bytes, const std::string& path) {
  while (!bytes.empty()) {
    const ssize_t written = ::write(fd, bytes.data(), std::min(bytes.size(), kMaxTransferBytes));
    if (written < 0) {
      if (errno == EINTR) continue;
      fail(path, "cannot be written", errno);
    }
    if (written == 0) fail(path, "cannot be written", ENOSPC);
    bytes = bytes.subspan(static_cast<std::size_t>(written));
  }
}

bool read_exactly(int fd, std::byte* to, std::size_t bytes) {
  while (bytes > 0) {
    const ssize_t got = ::read(fd, to, bytes);
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) return false;
    to += got;
    bytes -= static_cast<std::size_t>(got);
  }
  return true;
}

// Whether the file at `path` holds exactly `pieces`.
bool holds(const std::string& path, Pieces pieces) {
  const Descriptor file(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  if (file.get() < 0) return false;
  struct stat status {};
  std::uint64_t size = 0;
  for (const auto& piece : pieces) size += piece.size();
  if (::fstat(file.get(), &status) != 0 || !S_ISREG(status.st_mode) ||
      static_cast<std::uint64_t>(status.st_size) != size) {
    return false;
  }
  std::vector<std::byte> block(1 << 16);
  for (std::span<const std::byte> piece : pieces) {
    while (!piece.empty()) {
      const std::size_t bytes = std::min(block.size(), piece.size());
      if (!read_exactly(file.get(), block.data(), bytes) ||
          std::memcmp(block.data(), piece.data(), bytes) != 0) {
        return false;
      }
      piece = piece.subspan(bytes);
    }
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
int link_as(Temporary& temporary, const std::string& path) {
  if (::link(temporary.path().c_str(), path.c_str()) == 0) return 0;
  const int error = errno;
  if (has_second_name(temporary.path())) return 0;
  if (error == EPERM || error == EOPNOTSUPP || error == ENOSYS || error == EMLINK) {
    // No hard links here (FAT, some FUSE file systems): a rename that does not replace is as good.
    if (::renameat2(AT_FDCWD, temporary.path().c_str(), AT_FDCWD, path.c_str(), RENAME_NOREPLACE) ==
        0) {
      temporary.gone();
      return 0;
    }
    if (errno == EEXIST) return EEXIST;
  }
  return error;
}

void sync_directory(const std::string& directory, const std::string& path) {
  Descriptor folder(::open(directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (folder.get() < 0) fail(path, "its directory cannot be opened", errno);
  // EINVAL: this file system has no fsync of directories.
  if (::fsync(folder.get()) != 0 && errno != EINVAL) {
    fail(path, "its directory cannot be synchronised", errno);
  }
}

// A temporary beside `path` that holds `pieces`, synchronised; returns its path.
std::string write_temporary(const std::string& path, Pieces pieces) {
  const SplitPath parts = split(path);
  const std::string temporary_path = parts.directory + temporary_name(parts.name);
  Descriptor file(
      ::open(temporary_path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0666));
  if (file.get() < 0) fail(path, "cannot be created", errno);
  Temporary temporary(temporary_path);
  for (const auto& piece : pieces) write_all(file.get(), piece, path);
  // A failed fsync is never tried again: the kernel has dropped the pages and would report success.
  if (::fsync(file.get()) != 0) fail(path, "cannot be synchronised", errno);
  if (const int error = file.close()) fail(path, "cannot be closed", error);
  temporary.gone();
  return temporary_path;
}

std::string parent_of(const std::string& path) {
  const std::size_t slash = path.rfind('/');
  if (slash == std::string::npos) return ".";
  return slash == 0 ? "/" : path.substr(0, slash);
}

}  // namespace

StagedFile::StagedFile(const std::string& path, Pieces pieces)
    : path_(path), temporary_(write_temporary(path, pieces)) {}

StagedFile::StagedFile(const std::string& path, std::string_view text)
    : StagedFile(path, std::array<std::span<const std::byte>, 1>{std::as_bytes(std::span(text))}) {}

StagedFile::StagedFile(StagedFile&& other) noexcept
    : path_(std::move(other.path_)), temporary_(std::exchange(other.temporary_, {})) {}

StagedFile::~StagedFile() {
  if (!temporary_.empty()) ::unlink(temporary_.c_str());
}

void StagedFile::put_in_place() {
  if (::rename(temporary_.c_str(), path_.c_str()) != 0) {
    fail(path_, "cannot be put in place", errno);
  }
  temporary_.clear();
}

void synchronise_directory(const std::string& directory) { sync_directory(directory, directory); }

std::vector<std::string> make_directories(const std::string& path) {
  std::vector<std::string> made;
  for (std::size_t end = path.find('/', 1);; end = path.find('/', end + 1)) {
    const std::string part = path.substr(0, end);
    if (::mkdir(part.c_str(), 0777) == 0) {
      made.push_back(part);
      sync_directory(parent_of(part), path);
    } else if (errno != EEXIST) {
      const int error = errno;
      struct stat status {};
      // mkdir of a directory that is there may give EROFS or EACCES as well.
      if (::stat(part.c_str(), &status) != 0 || !S_ISDIR(status.st_mode)) {
        fail(path, "cannot be made", error);
      }
    }
    if (end == std::string::npos) break;
  }
  struct stat status {};
  if (::stat(path.c_str(), &status) != 0) fail(path, "cannot be made", errno);
  if (!S_ISDIR(status.st_mode)) {
    throw StorageError(path, "", "is no directory", "a directory that can be written");
  }
  return made;
}

Committed write_durably(const std::string& path, Pieces pieces, IfPresent if_present) {
  const SplitPath parts = split(path);
  if (if_present == IfPresent::kReplace) {
    StagedFile staged(path, pieces);
    staged.put_in_place();
    sync_directory(parts.directory, path);
    return Committed::kWritten;
  }

  Temporary temporary(write_temporary(path, pieces));
  Committed committed = Committed::kWritten;
  if (const int error = link_as(temporary, path)) {
    if (error != EEXIST) fail(path, "cannot be put in place", error);
    if (!holds(path, pieces)) {
      throw StorageError(path, "", "is there already and holds something else", "no file");
    }
    committed = Committed::kWasThere;
  }
  struct stat status {};
  if (::unlink(temporary.path().c_str()) == 0 ||
      (::lstat(temporary.path().c_str(), &status) != 0 && errno == ENOENT)) {
    temporary.gone();
  } else {
    fail(path, "its temporary cannot be removed", errno);
  }
  sync_directory(parts.directory, path);
  return committed;
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
  TemporaryName parsed{std::string(host), 0};
  const auto [end, error] = std::from_chars(pid.data(), pid.data() + pid.size(), parsed.pid);
  const bool random_is_hex =
      random.size() == 16 && random.find_first_not_of("0123456789abcdef") == std::string_view::npos;
  if (!random_is_hex || host.empty() || error != std::errc() || end != pid.data() + pid.size() ||
      parsed.pid <= 0 || name.size() < 2) {
    return std::nullopt;
  }
  return parsed;
}

std::size_t remove_stale_temporaries(const std::string& directory) {
  const std::string prefix = directory.ends_with('/') ? directory : directory + "/";
  const std::unique_ptr<DIR, int (*)(DIR*)> folder(::opendir(prefix.c_str()), ::closedir);
  if (!folder) fail(directory, "cannot be listed", errno);
  const std::string host = host_name();

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
  if (errno != 0) fail(directory, "cannot be listed", errno);
  if (candidates.empty()) return 0;

  // The directory's own clock is the time its server gives to a file made now: on a network file
  // system this machine's clock says nothing about the age of the others.
  std::int64_t now = 0;
  const std::string probe = prefix + temporary_name("clock");
  {
    const Descriptor file(::open(probe.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666));
    struct stat status {};
    if (file.get() >= 0 && ::fstat(file.get(), &status) == 0) now = status.st_mtime;
    if (file.get() >= 0) ::unlink(probe.c_str());
  }
  std::size_t removed = 0;
  for (const Candidate& candidate : candidates) {
    const bool old = now != 0 && now - candidate.modified > kStaleSeconds;
    if ((candidate.dead || old) && ::unlink(candidate.path.c_str()) == 0) ++removed;
  }
  return removed;
}

}  // namespace w2vbert
