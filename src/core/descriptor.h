// A file descriptor that is closed when it goes out of scope; all of something written to one, and
// read from one.
// Torch-free.
#pragma once

#include <poll.h>
#include <sys/types.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <span>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>

#include "w2vbert/core/error.h"

namespace w2vbert {

// Linux moves no more bytes in one call of read(2), write(2) and the like.
inline constexpr std::size_t kMaxTransferBytes = 0x7ffff000;

class Descriptor {
 public:
  // -1: no file.
  explicit Descriptor(int number) : number_(number) {}
  ~Descriptor() {
    if (number_ >= 0) ::close(number_);
  }
  Descriptor(Descriptor&& other) noexcept : number_(other.release()) {}
  Descriptor& operator=(Descriptor&&) = delete;
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  int number() const noexcept { return number_; }
  // The number, which is no longer closed here.
  int release() noexcept { return std::exchange(number_, -1); }
  // 0, or what went wrong: quota and network errors may come here. Never to be tried again: on
  // Linux the descriptor is gone whatever close(2) says.
  int close() {
    const int number = release();
    return ::close(number) == 0 || errno == EINTR ? 0 : errno;
  }

 private:
  int number_;
};

// "<path>: <what>: <the system's words for the error>".
[[noreturn]] inline void fail_storage(const std::string& path, std::string_view what, int error,
                                      std::string_view expected = {}) {
  throw StorageError(path, "", std::string(what) + ": " + std::generic_category().message(error),
                     expected);
}

// Returns 0, or the error's number. Waits where the other end of a pipe is slow, also where it was
// opened so that it does not wait by itself (O_NONBLOCK).
inline int try_write_all(int descriptor, std::span<const std::byte> bytes) noexcept {
  while (!bytes.empty()) {
    const ssize_t count =
        ::write(descriptor, bytes.data(), std::min(bytes.size(), kMaxTransferBytes));
    if (count < 0 && errno == EINTR) continue;
    if (count < 0 && errno == EAGAIN) {
      pollfd room{descriptor, POLLOUT, 0};
      if (::poll(&room, 1, /*no limit*/ -1) < 0 && errno != EINTR) return errno;
      continue;
    }
    if (count <= 0) return count == 0 ? ENOSPC : errno;
    bytes = bytes.subspan(static_cast<std::size_t>(count));
  }
  return 0;
}

inline int try_write_all(int descriptor, std::string_view text) noexcept {
  return try_write_all(descriptor, std::as_bytes(std::span(text)));
}

// Throws StorageError.
inline void write_all(int descriptor, std::span<const std::byte> bytes, const std::string& path) {
  if (const int error = try_write_all(descriptor, bytes)) {
    fail_storage(path, "cannot be written", error);
  }
}

inline void write_all(int descriptor, std::string_view text, const std::string& path) {
  write_all(descriptor, std::as_bytes(std::span(text)), path);
}

// Fills `to` from `offset` on. Returns how much of it: less than all where the file ends before.
// Throws StorageError.
inline std::size_t read_at(int descriptor, off_t offset, std::span<char> to,
                           const std::string& path) {
  std::size_t done = 0;
  while (done < to.size()) {  // one call may give less than there is
    const ssize_t count =
        ::pread(descriptor, to.data() + done, std::min(to.size() - done, kMaxTransferBytes),
                offset + static_cast<off_t>(done));
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) fail_storage(path, "cannot be read", errno);
    if (count == 0) break;
    done += static_cast<std::size_t>(count);
  }
  return done;
}

}  // namespace w2vbert
