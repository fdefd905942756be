// What an engine's interrupt_when() was given.
#pragma once

#include <functional>
#include <mutex>

namespace w2vbert {

// May be set and read on any thread. A computation reads it once and asks what it has read: neither
// waits for the other, and `asked` may set another one itself.
class InterruptRequest {
 public:
  void set(std::function<bool()> asked) {
    const std::lock_guard<std::mutex> lock(mutex_);
    asked_.swap(asked);
  }
  std::function<bool()> get() const {
    const std::lock_guard<std::mutex> lock(mutex_);
    return asked_;
  }

 private:
  mutable std::mutex mutex_;
  std::function<bool()> asked_;
};

}  // namespace w2vbert
