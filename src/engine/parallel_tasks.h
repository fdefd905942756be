// Many small independent tasks on LibTorch's threads.
#pragma once

#include <ATen/Parallel.h>

#include <algorithm>
#include <atomic>
#include <cstdint>
#ifdef __SANITIZE_THREAD__
#include <thread>
#include <vector>
#endif

namespace w2vbert {

// Calls task(i) for each i in [0, count), in any order. A thread takes the next task when it is
// done with its last: cores that something else slows down do less.
template <class Task>
void parallel_tasks(std::int64_t count, const Task& task) {
  std::atomic<std::int64_t> next{0};
  const std::int64_t threads = std::min<std::int64_t>(at::get_num_threads(), count);
  const auto work = [&] {
    for (;;) {
      const std::int64_t now = next.fetch_add(1, std::memory_order_relaxed);
      if (now >= count) break;
      task(now);
    }
  };
#ifdef __SANITIZE_THREAD__
  // ThreadSanitizer does not see how OpenMP's threads wait for one another.
  std::vector<std::thread> others;
  for (std::int64_t i = 1; i < threads; ++i) others.emplace_back(work);
  work();
  for (std::thread& other : others) other.join();
#else
  at::parallel_for(0, threads, 1, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t thread = begin; thread < end; ++thread) work();
  });
#endif
}

// Rows that one task works on where nothing but the rows matters.
inline constexpr std::int64_t kRowsPerTask = 16;

// Calls task(first, count) for blocks of `rows` rows.
template <class Task>
void parallel_rows(std::int64_t rows, const Task& task) {
  parallel_tasks((rows + kRowsPerTask - 1) / kRowsPerTask, [&](std::int64_t block) {
    const std::int64_t first = block * kRowsPerTask;
    task(first, std::min(kRowsPerTask, rows - first));
  });
}

}  // namespace w2vbert
