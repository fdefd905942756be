// A lock among processes, also those of other containers and machines, that dies with its owner.
// Torch-free.
#pragma once

#include <exception>
#include <functional>
#include <string>

#include "core/descriptor.h"

namespace w2vbert {

// Thrown where a wait for a lock was asked to end.
struct LockWaitEnded : std::exception {
  const char* what() const noexcept override { return "a wait for a lock was ended"; }
};

// What is told and asked in every wait of this process for a lock that another process holds, as
// long as the object lives: of any thread, and one object at a time.
class LockWaitEvents {
 public:
  // `told`: once for each wait, with the path of what is locked, when it has taken two seconds.
  // `end_asked`: true ends a wait within a second or so.
  LockWaitEvents(std::function<void(const std::string& path)> told,
                 std::function<bool()> end_asked);
  ~LockWaitEvents();
  LockWaitEvents(const LockWaitEvents&) = delete;
  LockWaitEvents& operator=(const LockWaitEvents&) = delete;
};

// Waits for another holder of the lock of the open file, which is at `path`. The lock goes with the
// open file. Returns 0, or what went wrong. Throws LockWaitEnded.
int lock_exclusively(int descriptor, const std::string& path);
// The same for a lock that others may hold as well, in this way.
int lock_shared(int descriptor, const std::string& path);

// Held as long as the object lives. Waits for another holder. Throws StorageError where the file is
// not there or cannot be opened, and LockWaitEnded.
class FileLock {
 public:
  explicit FileLock(const std::string& path);

  // False: this file system has no locks.
  bool is_held() const noexcept { return is_held_; }

 private:
  Descriptor file_;
  bool is_held_ = true;
};

}  // namespace w2vbert
