#include "support/wrapped_pread.h"

#include <sys/types.h>

#include <algorithm>
#include <chrono>
#include <thread>

namespace w2vbert::testing {

WrappedPread wrapped_pread;

}  // namespace w2vbert::testing

// NOLINTBEGIN(bugprone-reserved-identifier): the names that the linker's --wrap gives
extern "C" {
ssize_t __real_pread(int descriptor, void* to, std::size_t bytes, off_t offset);
ssize_t __wrap_pread(int descriptor, void* to, std::size_t bytes, off_t offset) {
  auto& wrapped = w2vbert::testing::wrapped_pread;
  ++wrapped.calls;
  while (wrapped.hangs) std::this_thread::sleep_for(std::chrono::milliseconds(1));
  if (wrapped.before) wrapped.before();
  return __real_pread(descriptor, to, std::min<std::size_t>(bytes, wrapped.max_bytes), offset);
}
}
// NOLINTEND(bugprone-reserved-identifier)
