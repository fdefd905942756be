// A lock among processes, also those of other containers and machines, that dies with its owner.
// Torch-free.
#pragma once

#include <fcntl.h>
#include <sys/file.h>

#include <cerrno>
#include <string>

#include "core/descriptor.h"

namespace w2vbert {

// Held as long as the object lives. Waits for another holder. Throws StorageError where the file is
// not there or cannot be opened.
class FileLock {
 public:
  explicit FileLock(const std::string& path) : file_(open(path)) {
    if (file_.number() < 0) fail_storage(path, "cannot be opened", errno);
    int status = 0;
    do {
      status = ::flock(file_.number(), LOCK_EX);
    } while (status != 0 && errno == EINTR);
    if (status == 0) return;
    if (errno != ENOSYS && errno != EOPNOTSUPP && errno != ENOLCK && errno != EBADF &&
        errno != EINVAL) {
      fail_storage(path, "cannot be locked", errno);
    }
    is_held_ = false;
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
