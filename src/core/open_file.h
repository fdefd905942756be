// open(2) that a signal does not end. Torch-free.
#pragma once

#include <fcntl.h>
#include <sys/types.h>

#include <cerrno>
#include <string>

namespace w2vbert {

// The descriptor, or -1 with errno, which is never EINTR: a network file system may be interrupted.
inline int open_file(const std::string& path, int flags, mode_t mode = 0) {
  for (;;) {
    const int descriptor = ::open(path.c_str(), flags, mode);
    if (descriptor >= 0 || errno != EINTR) return descriptor;
  }
}

}  // namespace w2vbert
