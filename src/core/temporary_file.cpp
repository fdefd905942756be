#include "core/temporary_file.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdio>
#include <utility>
#include <vector>

#include "core/directory_entries.h"
#include "core/exclusive_name.h"
#include "core/file.h"
#include "core/host_name.h"
#include "core/open_file.h"
#include "core/parse_number.h"
#include "core/stable_hash.h"
#include "core/text.h"
#include "w2vbert/core/error.h"

namespace w2vbert {
namespace {

constexpr std::size_t kMaxNameBytes = 255;  // NAME_MAX of the usual file systems
constexpr std::size_t kMaxHostBytes = 64;
constexpr std::size_t kRandomDigits = 16;
constexpr std::string_view kTemporarySuffix = ".tmp";
constexpr std::string_view kAsideSuffix = ".aside";
constexpr std::string_view kCutAsideSuffix = ".cut.aside";
constexpr std::int64_t kStaleSeconds = 24 * 60 * 60;

// Dots separate the parts of a temporary's name.
std::string host_of_temporaries() {
  std::string host = host_name();
  std::replace_if(
      host.begin(), host.end(), [](char c) { return c == '.' || c == '/'; }, '-');
  host.resize(std::min(host.size(), kMaxHostBytes));
  return host.empty() ? "unknown" : host;
}

std::string hex_digits(std::uint64_t number) {
  std::array<char, kRandomDigits + 1> digits{};
  std::snprintf(digits.data(), digits.size(), "%016llx", static_cast<unsigned long long>(number));
  return digits.data();
}

// ".<name>.<host>.<pid>.<digits>", with as much of `name` as the system takes beside `suffix`.
std::string name_with_tail(std::string_view name, const std::string& last_digits,
                           std::string_view suffix) {
  const std::string tail = "." + host_of_temporaries() + "." + std::to_string(::getpid()) + "." +
                           this_kernel().boot + this_kernel().pid_namespace + last_digits +
                           std::string(suffix);
  std::size_t kept = std::min(name.size(), kMaxNameBytes - 1 - tail.size());
  // Some file systems refuse names that are not UTF-8: do not cut a character in two.
  while (kept > 0 && kept < name.size() &&
         (static_cast<unsigned char>(name[kept]) & 0xC0) == 0x80) {
    --kept;
  }
  return "." + std::string(name.substr(0, kept)) + tail;
}

std::string temporary_name(const std::string& name) {
  std::uint64_t random = 0;
  if (::getrandom(&random, sizeof random, 0) != sizeof random) {
    // Only uniqueness within this process is left to care for; O_EXCL guards the rest.
    random = reinterpret_cast<std::uintptr_t>(&random);
  }
  return name_with_tail(name, hex_digits(random), kTemporarySuffix);
}

// Digits that stay the same when a file is renamed and the machine starts anew. Zeros: of no file.
std::string digits_of(const std::optional<FileIdentity>& file) {
  if (!file) return hex_digits(0);
  std::string text;
  for (const std::uint64_t number :
       {file->inode, file->bytes, static_cast<std::uint64_t>(file->modified_ns)}) {
    text += hex_digits(number);
  }
  return hex_digits(stable_hash(text) | 1);
}

enum class Lock { kTaken, kHeldByAnother, kUnknown };

Lock try_lock(int descriptor) {
  if (::flock(descriptor, LOCK_EX | LOCK_NB) == 0) return Lock::kTaken;
  return errno == EWOULDBLOCK ? Lock::kHeldByAnother : Lock::kUnknown;
}

// Whether no other machine can have the file system mounted now.
bool is_local(int descriptor) {
  struct statfs status {};
  if (::fstatfs(descriptor, &status) != 0) return false;
  // linux/magic.h: ext2 to ext4, XFS, Btrfs, F2FS, bcachefs, ZFS, tmpfs, ramfs, overlay, FAT,
  // exFAT.
  constexpr std::array<std::uint32_t, 11> kLocal = {0xEF53,     0x58465342, 0x9123683E, 0xF2F52010,
                                                    0xCA451A4E, 0x2FC12FC1, 0x01021994, 0x858458F6,
                                                    0x794C7630, 0x4D44,     0x2011BAB0};
  return std::find(kLocal.begin(), kLocal.end(), static_cast<std::uint32_t>(status.f_type)) !=
         kLocal.end();
}

bool is_dead(std::int64_t pid) { return ::kill(static_cast<pid_t>(pid), 0) != 0 && errno == ESRCH; }

// Whether the process that writes the temporary is certainly gone.
bool is_abandoned(const TemporaryName& name, Lock lock, int descriptor) {
  if (name.boot.empty()) return name.host == host_of_temporaries() && is_dead(name.pid);
  const bool same_kernel = name.boot == this_kernel().boot;
  if (lock == Lock::kTaken) return same_kernel || is_local(descriptor);
  return same_kernel && name.pid_namespace == this_kernel().pid_namespace && is_dead(name.pid);
}

// The time that the directory's server gives to a file made now, or 0: on a network file system
// this machine's clock says nothing about the age of the others.
std::int64_t clock_of(const std::string& directory) {
  try {
    const TemporaryFile file = TemporaryFile::in(directory);
    struct stat status {};
    return ::fstat(file.descriptor(), &status) == 0 ? status.st_mtime : 0;
  } catch (const StorageError&) {
    return 0;
  }
}

}  // namespace

std::string temporary_path(const std::string& path) {
  const std::string name(file_name(path));
  if (name.empty() || name == "." || name == ".." || path.find('\0') != std::string::npos) {
    throw StorageError(path, "", "is no file name");
  }
  return directory_of(path) + temporary_name(name);
}

std::string aside_path(const std::string& path, const AsideFate& fate) {
  const std::string_view name = file_name(path);
  const std::string digits = digits_of(fate.removed) + digits_of(fate.replaced);
  std::string aside = name_with_tail(name, digits, kAsideSuffix);
  if (aside.compare(1, name.size(), name) != 0) {
    aside = name_with_tail(name, digits, kCutAsideSuffix);
  }
  return directory_of(path) + aside;
}

struct TemporaryFile::Words {
  const std::string& path;
  std::string_view problem;
  std::string_view expected;
};

TemporaryFile TemporaryFile::create(const std::string& path, const Words& words) {
  for (;;) {
    TemporaryFile file(temporary_path(path), Descriptor(-1), Descriptor(-1));
    Descriptor descriptor(
        open_file(file.path_, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0666));
    if (descriptor.number() < 0) {
      const int error = errno;
      file.forget();
      fail_storage(words.path, words.problem, error, words.expected);
    }
    // Before the lock it looks like a dead process's, and may have been removed as such.
    struct stat status {};
    if (try_lock(descriptor.number()) == Lock::kHeldByAnother ||
        (::lstat(file.path_.c_str(), &status) != 0 && errno == ENOENT)) {
      continue;
    }
    // close() reports what went wrong with the data; the lock is for what comes behind it.
    Descriptor lock(::fcntl(descriptor.number(), F_DUPFD_CLOEXEC, 0));
    if (lock.number() < 0) fail_storage(words.path, words.problem, errno, words.expected);
    return TemporaryFile(std::exchange(file.path_, {}), std::move(descriptor), std::move(lock));
  }
}

TemporaryFile::TemporaryFile(std::string path, Descriptor descriptor, Descriptor lock)
    : path_(std::move(path)), descriptor_(std::move(descriptor)), lock_(std::move(lock)) {}

TemporaryFile::TemporaryFile(const std::string& path)
    : TemporaryFile(create(path, {path, "cannot be created", ""})) {}

TemporaryFile TemporaryFile::in(const std::string& directory) {
  return create(join_path(directory, "w2vbert"),
                {directory, "no file can be created in it", "a directory that can be written"});
}

TemporaryFile::TemporaryFile(TemporaryFile&& other) noexcept
    : path_(std::exchange(other.path_, {})),
      descriptor_(std::move(other.descriptor_)),
      lock_(std::move(other.lock_)) {}

void TemporaryFile::rename(const std::string& path) {
  if (::rename(path_.c_str(), path.c_str()) != 0) {
    fail_storage(path_, "cannot be renamed", errno);
  }
  path_ = path;
}

TemporaryFile::~TemporaryFile() {
  if (!path_.empty()) ::unlink(path_.c_str());
}

std::optional<TemporaryName> parse_temporary_name(std::string_view name) {
  const bool is_aside = name.ends_with(kAsideSuffix);
  const bool is_cut = name.ends_with(kCutAsideSuffix);
  const std::string_view suffix = is_cut     ? kCutAsideSuffix
                                  : is_aside ? kAsideSuffix
                                             : kTemporarySuffix;
  if (!name.starts_with('.') || !name.ends_with(suffix)) return std::nullopt;
  name.remove_suffix(suffix.size());
  const auto take_last = [&name]() -> std::string_view {
    const std::size_t dot = name.rfind('.');
    if (dot == std::string_view::npos) return {};
    const std::string_view part = name.substr(dot + 1);
    name.remove_suffix(part.size() + 1);
    return part;
  };
  const std::string_view digits = take_last();
  const std::string_view pid = take_last();
  const std::string_view host = take_last();
  TemporaryName parsed;
  parsed.host = host;
  parsed.pid = parse_number<std::int64_t>(pid).value_or(0);
  constexpr std::size_t kKernelDigits = 2 * Kernel::kDigits;
  const std::size_t last_digits = (is_aside ? 2 : 1) * kRandomDigits;
  const bool tells_kernel = digits.size() == kKernelDigits + last_digits;
  if ((!tells_kernel && (is_aside || digits.size() != kRandomDigits)) ||
      digits.find_first_not_of(kHexDigits) != std::string_view::npos || host.empty() ||
      parsed.pid <= 0 || name.size() < 2) {
    return std::nullopt;
  }
  parsed.is_aside = is_aside;
  parsed.is_cut = is_cut;
  parsed.name = name.substr(1);
  if (is_aside) {
    parsed.removed = digits.substr(kKernelDigits, kRandomDigits);
    parsed.replaced = digits.substr(kKernelDigits + kRandomDigits);
  }
  if (tells_kernel) {
    parsed.boot = digits.substr(0, Kernel::kDigits);
    parsed.pid_namespace = digits.substr(Kernel::kDigits, Kernel::kDigits);
  }
  return parsed;
}

namespace {

// Whether a name aside is to go: with its file, or because that has its own name back.
bool may_be_removed(const std::string& path, const TemporaryName& name, const struct stat& status,
                    const std::string& prefix) {
  const std::string digits = digits_of(identity_of(status));
  if (digits == name.removed) return true;
  if (name.is_cut) return false;  // its place is not known
  const int error = give_name(path, prefix + name.name).error;
  return error == 0 || (error == EEXIST && digits == name.replaced);
}

}  // namespace

std::size_t remove_stale_temporaries(const std::string& directory) {
  const std::string prefix = join_path(directory, "");
  std::vector<std::pair<std::string, TemporaryName>> candidates;
  for_each_entry(directory, [&](const dirent& entry, DIR*) {
    if (auto parsed = parse_temporary_name(entry.d_name)) {
      candidates.emplace_back(prefix + entry.d_name, std::move(*parsed));
    }
  });
  if (candidates.empty()) return 0;

  const std::int64_t now = clock_of(directory);
  std::size_t removed = 0;
  for (const auto& [path, name] : candidates) {
    const Descriptor file(open_file(path, O_RDWR | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC));
    struct stat status {
    }, there{};
    if (::fstat(file.number(), &status) != 0 || !S_ISREG(status.st_mode)) continue;
    const Lock lock = try_lock(file.number());
    if (lock == Lock::kHeldByAnother) continue;
    const bool old = now != 0 && now - status.st_mtime > kStaleSeconds;
    if (!old && !is_abandoned(name, lock, file.number())) continue;
    const bool is_what_was_opened =
        ::lstat(path.c_str(), &there) == 0 && inode_of(there) == inode_of(status);
    if (!is_what_was_opened || (name.is_aside && !may_be_removed(path, name, status, prefix))) {
      continue;
    }
    if (::unlink(path.c_str()) == 0) ++removed;
  }
  return removed;
}

}  // namespace w2vbert
