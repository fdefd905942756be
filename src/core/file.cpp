#include "core/file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <utility>

namespace w2vbert {
namespace {

constexpr std::uint64_t kMaxReadBytes = 0x7ffff000;  // Linux moves no more in one call
// A network file system forgets a file that its server moved or replaced; asking again may help.
constexpr int kStaleRetries = 3;

// Without blocking: opening a pipe without a writer must not hang.
int open_for_reading(const std::string& path) {
  int stale = 0;
  for (;;) {
    const int descriptor = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (descriptor >= 0) return descriptor;
    if (errno == EINTR || (errno == ESTALE && stale++ < kStaleRetries)) continue;
    return -1;
  }
}

const char* kind_of(mode_t mode) {
  if (S_ISDIR(mode)) return "is a directory";
  if (S_ISFIFO(mode)) return "is a pipe";
  if (S_ISSOCK(mode)) return "is a socket";
  if (S_ISCHR(mode) || S_ISBLK(mode)) return "is a device";
  return "is not a regular file";
}

std::string system_message(const char* what, int error) {
  return std::string(what) + ": " + std::strerror(error);
}

}  // namespace

InputFile::InputFile(const std::string& path, Fail fail_with) : path_(path), fail_(fail_with) {
  if (path.find('\0') != std::string::npos) fail("the path holds a NUL byte");
  descriptor_ = open_for_reading(path);
  if (descriptor_ < 0) fail(system_message("cannot be opened", errno));
  struct stat status = {};
  if (::fstat(descriptor_, &status) != 0 || !S_ISREG(status.st_mode)) {
    const char* kind = kind_of(status.st_mode);
    ::close(std::exchange(descriptor_, -1));
    fail(kind);
  }
  size_ = static_cast<std::uint64_t>(status.st_size);
  inode_ = status.st_ino;
  modified_ = status.st_mtim;
}

InputFile::~InputFile() {
  if (descriptor_ >= 0) ::close(descriptor_);
}

InputFile::InputFile(InputFile&& other) noexcept
    : path_(std::move(other.path_)),
      fail_(other.fail_),
      descriptor_(std::exchange(other.descriptor_, -1)),
      size_(other.size_),
      inode_(other.inode_),
      modified_(other.modified_) {}

void InputFile::read_at(std::uint64_t offset, void* to, std::uint64_t bytes) const {
  auto* out = static_cast<char*>(to);
  int stale = 0;
  while (bytes > 0) {
    const auto wanted = static_cast<std::size_t>(std::min(bytes, kMaxReadBytes));
    const ssize_t got = ::pread(descriptor_, out, wanted, static_cast<off_t>(offset));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0 && errno == ESTALE && stale++ < kStaleRetries) {
      reopen();
      continue;
    }
    if (got < 0) fail(system_message("cannot be read", errno));
    if (got == 0) fail("ended while it was read: it was cut short by somebody else");
    out += got;
    offset += static_cast<std::uint64_t>(got);
    bytes -= static_cast<std::uint64_t>(got);
  }
}

void InputFile::reopen() const {
  const int again = open_for_reading(path_);
  if (again < 0) fail(system_message("cannot be opened again", errno));
  // In one step, under the descriptor that other threads use.
  const int moved = ::dup3(again, descriptor_, O_CLOEXEC);
  const int error = errno;
  ::close(again);
  if (moved < 0) fail(system_message("cannot be opened again", error));
  check_unchanged();
}

void InputFile::check_unchanged() const {
  struct stat now = {};
  if (::fstat(descriptor_, &now) != 0) fail(system_message("cannot be examined", errno));
  if (static_cast<std::uint64_t>(now.st_size) != size_ || now.st_ino != inode_ ||
      now.st_mtim.tv_sec != modified_.tv_sec || now.st_mtim.tv_nsec != modified_.tv_nsec) {
    fail("was changed by somebody else while it was read");
  }
}

void InputFile::fail(std::string_view problem) const {
  fail_(path_, problem);
  std::abort();  // fail_ throws
}

std::string read_whole(const InputFile& file, std::uint64_t max_bytes) {
  std::string text(std::min(file.size(), max_bytes), '\0');
  file.read_at(0, text.data(), text.size());
  file.check_unchanged();
  return text;
}

bool is_directory(const std::string& path) {
  struct stat status = {};
  return ::stat(path.c_str(), &status) == 0 && S_ISDIR(status.st_mode);
}

bool exists(const std::string& path) {
  struct stat status = {};
  return ::stat(path.c_str(), &status) == 0;
}

std::string join_path(const std::string& directory, const std::string& name) {
  return directory.empty() || directory.back() == '/' ? directory + name : directory + "/" + name;
}

}  // namespace w2vbert
