#include "core/file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <utility>

#include "core/open_file.h"

namespace w2vbert {
namespace {

// A network file system forgets a file that its server moved or replaced; asking again may help.
constexpr int kStaleRetries = 3;

// Without blocking: opening a pipe without a writer must not hang.
int open_for_reading(const std::string& path) {
  int stale = 0;
  for (;;) {
    const int descriptor = open_file(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (descriptor >= 0) return descriptor;
    if (errno == ESTALE && stale++ < kStaleRetries) continue;
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

Inode inode_of(const struct stat& status) {
  return {static_cast<std::uint64_t>(status.st_dev), static_cast<std::uint64_t>(status.st_ino)};
}

FileIdentity identity_of(const struct stat& status) {
  const Inode inode = inode_of(status);
  return {inode.device, inode.number, static_cast<std::uint64_t>(status.st_size),
          std::int64_t{status.st_mtim.tv_sec} * 1'000'000'000 + status.st_mtim.tv_nsec};
}

std::optional<FileIdentity> identity_at(const std::string& path) {
  struct stat status {};
  if (::lstat(path.c_str(), &status) == 0) return identity_of(status);
  if (errno != ENOENT) fail_storage(path, "cannot be looked at", errno);
  return std::nullopt;
}

InputFile::InputFile(const std::string& path, Fail fail_with, Fail fail_unreadable_with)
    : path_(path),
      fail_(fail_with),
      fail_unreadable_(fail_unreadable_with),
      descriptor_(path.find('\0') == std::string::npos ? open_for_reading(path) : -1) {
  if (path.find('\0') != std::string::npos) fail("the path holds a NUL byte");
  if (descriptor_.number() < 0) {
    const int error = errno;
    const std::string problem = system_message("cannot be opened", error);
    means_absent(error) ? fail(problem) : fail_unreadable(problem);
  }
  struct stat status = {};
  if (::fstat(descriptor_.number(), &status) != 0) {
    fail_unreadable(system_message("cannot be examined", errno));
  }
  if (!S_ISREG(status.st_mode)) fail(kind_of(status.st_mode));
  identity_ = identity_of(status);
  size_ = identity_.bytes;
}

InputFile::InputFile(std::shared_ptr<const InputFile> container, std::string path)
    : path_(std::move(path)),
      fail_(container->fail_),
      fail_unreadable_(container->fail_unreadable_),
      identity_(container->identity_),
      container_(std::move(container)) {}

InputFile::InputFile(std::string path, Fail fail_with, std::string content)
    : path_(std::move(path)),
      fail_(fail_with),
      fail_unreadable_(fail_with),
      size_(content.size()),
      content_(std::move(content)) {}

InputFile InputFile::member(std::shared_ptr<const InputFile> container, std::string path,
                            std::uint64_t begin, std::uint64_t bytes) {
  InputFile file(std::move(container), std::move(path));
  const std::uint64_t there = file.container_->size();
  if (begin > there || bytes > there - begin) {
    file.fail("is cut: " + std::to_string(begin > there ? 0 : there - begin) + " of its " +
              std::to_string(bytes) + " bytes are there");
  }
  file.begin_ = begin;
  file.size_ = bytes;
  return file;
}

InputFile InputFile::member(std::shared_ptr<const InputFile> container, std::string path,
                            std::string content) {
  InputFile file(std::move(container), std::move(path));
  file.size_ = content.size();
  file.content_ = std::move(content);
  return file;
}

const std::string& InputFile::path_on_disk() const {
  static const std::string none;
  return container_ ? container_->path_on_disk() : content_ ? none : path_;
}

int InputFile::descriptor() const {
  return container_ ? container_->descriptor() : descriptor_.number();
}

ssize_t InputFile::read_some(std::uint64_t offset, void* to, std::uint64_t bytes) const noexcept {
  const std::uint64_t left = size_ - std::min(offset, size_);
  const auto wanted = static_cast<std::size_t>(
      std::min<std::uint64_t>({bytes, kMaxTransferBytes, container_ || content_ ? left : bytes}));
  if (content_) {
    std::memcpy(to, content_->data() + (size_ - left), wanted);
    return static_cast<ssize_t>(wanted);
  }
  return ::pread(descriptor(), to, wanted, static_cast<off_t>(begin_ + offset));
}

void InputFile::read_at(std::uint64_t offset, void* to, std::uint64_t bytes) const {
  auto* out = static_cast<char*>(to);
  int stale = 0;
  while (bytes > 0) {
    const ssize_t got = read_some(offset, out, bytes);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0 && errno == ESTALE && stale++ < kStaleRetries) {
      (container_ ? *container_ : *this).reopen();
      continue;
    }
    if (got < 0) fail_unreadable(system_message("cannot be read", errno));
    if (got == 0) fail_unreadable("ended while it was read: another process has cut it short");
    out += got;
    offset += static_cast<std::uint64_t>(got);
    bytes -= static_cast<std::uint64_t>(got);
  }
}

void InputFile::reopen() const {
  const Descriptor again(open_for_reading(path_));
  // In one step, under the descriptor that other threads use.
  if (again.number() < 0 || ::dup3(again.number(), descriptor_.number(), O_CLOEXEC) < 0) {
    fail_unreadable(system_message("cannot be opened again", errno));
  }
  check_unchanged();
}

void InputFile::check_unchanged() const {
  if (content_ && !container_) return;
  struct stat now = {};
  if (::fstat(descriptor(), &now) != 0) {
    fail_unreadable(system_message("cannot be examined", errno));
  }
  if (identity_of(now) != identity_) {
    fail_unreadable("was changed by another process while it was read");
  }
}

bool InputFile::is_in_place() const {
  if (container_) return container_->is_in_place();
  if (content_) return true;
  struct stat there = {};
  return ::stat(path_.c_str(), &there) == 0 && identity_of(there) == identity_;
}

void InputFile::fail(std::string_view problem) const {
  fail_(path_, problem);
  std::abort();  // fail_ throws
}

void InputFile::fail_unreadable(std::string_view problem) const {
  fail_unreadable_(path_, problem);
  std::abort();  // fail_unreadable_ throws
}

std::string read_whole(const InputFile& file, std::uint64_t max_bytes) {
  std::string text(std::min(file.size(), max_bytes), '\0');
  file.read_at(0, text.data(), text.size());
  file.check_unchanged();
  return text;
}

bool means_absent(int error) {
  return error == ENOENT || error == ENOTDIR || error == ELOOP || error == ENAMETOOLONG;
}

FileKind examine(const std::string& path, FailToExamine fail) {
  struct stat status = {};
  if (::stat(path.c_str(), &status) == 0) {
    return S_ISDIR(status.st_mode) ? FileKind::kDirectory : FileKind::kOther;
  }
  if (!means_absent(errno)) fail(path, system_message("cannot be examined", errno));
  return FileKind::kAbsent;
}

std::string join_path(const std::string& directory, std::string_view name) {
  std::string path = directory;
  if (!path.empty() && path.back() != '/') path += '/';
  return path.append(name);
}

std::string parent_path(const std::string& path) {
  const std::size_t slash = path.rfind('/');
  if (slash == std::string::npos) return ".";
  return slash == 0 ? "/" : path.substr(0, slash);
}

std::string_view directory_prefix(std::string_view path) {
  return path.substr(0, path.rfind('/') + 1);  // npos + 1 == 0
}

std::string_view file_name(std::string_view path) { return path.substr(path.rfind('/') + 1); }

std::string without_trailing_slashes(std::string path) {
  while (path.size() > 1 && path.ends_with('/')) path.pop_back();
  return path;
}

}  // namespace w2vbert
