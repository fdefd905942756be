// A lock among processes, also those of other containers and machines, that dies with its owner.
// Torch-free.
#pragma once

#include <fcntl.h>
#include <sys/file.h>

#include <cerrno>
#include <string>

#include "core/descriptor.h"

namespace w2vbert {

// Waits for another holder, and through signals. The lock goes with the open file. Returns 0, or
// what went wrong.
inline int lock_exclusively(int descriptor) noexcept {
  while (::flock(descriptor, LOCK_EX) != 0) {
    if (errno != EINTR) return errno;
  }
  return 0;
}

// Held as long as the object lives. Waits for another holder. Throws StorageError where the file is
// not there or cannot be opened.
class FileLock {
 public:
  explicit FileLock(const std::string& path) : file_(open(path)) {
    if (file_.number() < 0) fail_storage(path, "cannot be opened", errno);
    const int error = lock_exclusively(file_.number());
    is_held_ = error == 0;
    if (!is_held_ && error != ENOSYS && error != EOPNOTSUPP && error != ENOLCK && error != EBADF &&
        error != EINVAL) {
      fail_storage(path, "cannot be locked", error);
    }
  }

  // False: this file system has no locks.
  bool is_held() const noexcept { return is_held_; }

 private:
  // For writing, which a network file system may want; flock itself does not.
  static int open(const std::string& path) {
    const int descriptor = ::open(path.c_str(), O_RDWR | O_CLOEXEC | O_NOFOLLOW);
    if (descriptor >= 0 || (errno != EACCES && errno != EPERM && errno != EROFS)) return descriptor;
    return ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
  }

  Descriptor file_;
  bool is_held_ = true;
};

}  // namespace w2vbert
