// LibTorch's operations on one thread alone.
#pragma once

#include <ATen/Parallel.h>
#include <c10/util/ParallelGuard.h>
#ifdef _OPENMP
#include <omp.h>
#endif

namespace w2vbert {

// Until it ends, what LibTorch computes on this thread is not shared out among others: for threads
// that work beside the engine, which has the cores. c10::ParallelGuard says that to LibTorch's own
// thread pool alone; its packages share work out by OpenMP, which has a number for each thread.
class OneCore {
 public:
#ifdef _OPENMP
  OneCore() : before_(at::get_num_threads()) {
    // The first use of at::parallel_for in this binary would set the thread's number again.
    at::internal::lazy_init_num_threads();
    omp_set_num_threads(1);
  }
  ~OneCore() { omp_set_num_threads(before_); }
#else
  OneCore() = default;
  ~OneCore() = default;
#endif
  OneCore(const OneCore&) = delete;
  OneCore& operator=(const OneCore&) = delete;

 private:
#ifdef _OPENMP
  int before_;
#endif
  c10::ParallelGuard guard_{true};
};

}  // namespace w2vbert
