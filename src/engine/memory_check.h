// Whether there is memory for what is about to be computed.
#pragma once

#include <c10/util/Exception.h>

#include <cstdint>
#include <string>

#include "core/memory.h"

namespace w2vbert {

// Refuses work on a CPU for which there is not enough memory, before it begins: a system that
// promises more than it has would end the process. Throws c10::OutOfMemoryError: "<what> 5000 MB of
// memory, 4000 are there".
inline void check_memory(std::int64_t bytes, const std::string& what) {
  // Nobody asks the kernel for the sake of what any machine holds.
  constexpr std::int64_t kMinCheckedBytes = 256 << 20;
  if (bytes < kMinCheckedBytes) return;
  const std::int64_t usable = usable_memory();
  const auto megabytes = [](std::int64_t count) { return count / 1'000'000; };
  TORCH_CHECK_WITH(OutOfMemoryError, bytes <= usable, what, " ", megabytes(bytes),
                   " MB of memory, ", megabytes(usable), " are there");
}

}  // namespace w2vbert
