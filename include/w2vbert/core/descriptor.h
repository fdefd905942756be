// A file descriptor that is closed when it goes out of scope, and writing to it whole.
#pragma once

#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <string>
#include <string_view>

#include "w2vbert/core/error.h"

namespace w2vbert {

class Descriptor {
 public:
  explicit Descriptor(int number) : number_(number) {}
  ~Descriptor() {
    if (number_ >= 0) ::close(number_);
  }
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  int number() const noexcept { return number_; }
  // The number, which is no longer closed here.
  int release() {
    const int number = number_;
    number_ = -1;
    return number;
  }
  // Whether it worked: quota and network errors may come here.
  bool close() {
    const int number = number_;
    number_ = -1;
    return ::close(number) == 0;
  }

 private:
  int number_;
};

[[noreturn]] inline void fail_storage(const std::string& path, std::string_view what, int error) {
  throw StorageError(path, "", std::string(what) + ": " + std::strerror(error),
                     "a directory that can be written");
}

inline void write_all(int descriptor, std::string_view bytes, const std::string& path) {
  while (!bytes.empty()) {
    const ssize_t count = ::write(descriptor, bytes.data(), bytes.size());
    if (count < 0 && errno == EINTR) continue;
    if (count <= 0) fail_storage(path, "cannot be written", count == 0 ? ENOSPC : errno);
    bytes.remove_prefix(static_cast<std::size_t>(count));
  }
}

}  // namespace w2vbert
