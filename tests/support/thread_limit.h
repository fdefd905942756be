// Threads that cannot be started, as where a container allows no more. For programs that link
// thread_limit.cpp, which takes the place of pthread_create for all their libraries.
#pragma once

#include "support/namespaces.h"

namespace w2vbert::testing {

// While it lives, `threads` more can be started, and each one behind them fails with EAGAIN.
class ThreadLimit {
 public:
  explicit ThreadLimit(int threads);
  ~ThreadLimit();
  ThreadLimit(const ThreadLimit&) = delete;
  ThreadLimit& operator=(const ThreadLimit&) = delete;
};

}  // namespace w2vbert::testing
