// Between the program and pread(2): in tests that are linked with --wrap=pread.
#pragma once

#include <atomic>
#include <cstddef>
#include <functional>

#include "support/namespaces.h"

namespace w2vbert::testing {

// All calls together. Set back by the test that sets one.
struct WrappedPread {
  std::atomic<bool> hangs{false};
  std::atomic<int> calls{0};
  std::atomic<std::size_t> max_bytes{static_cast<std::size_t>(-1)};  // that one call gives
  std::function<void()> before;  // called by each; set where no other thread reads
};
extern WrappedPread wrapped_pread;

}  // namespace w2vbert::testing
