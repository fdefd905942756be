#include "support/thread_limit.h"

#include <dlfcn.h>
#include <pthread.h>

#include <atomic>
#include <cerrno>
#include <climits>
#include <cstring>

namespace w2vbert::testing {
namespace {

std::atomic<int> threads_left{INT_MAX};

// OpenMP ends the process where it does not get its threads.
bool is_openmp(void* (*run)(void*)) {
  Dl_info library;
  return ::dladdr(reinterpret_cast<void*>(run), &library) != 0 && library.dli_fname != nullptr &&
         std::strstr(library.dli_fname, "libgomp") != nullptr;
}

}  // namespace

ThreadLimit::ThreadLimit(int threads) { threads_left = threads; }
ThreadLimit::~ThreadLimit() { threads_left = INT_MAX; }

}  // namespace w2vbert::testing

extern "C" int w2vbert_create_limited_thread(pthread_t* thread, const pthread_attr_t* attributes,
                                             void* (*run)(void*), void* argument) noexcept {
  using Create = int (*)(pthread_t*, const pthread_attr_t*, void* (*)(void*), void*);
  static const auto create = reinterpret_cast<Create>(::dlsym(RTLD_NEXT, "pthread_create"));
  if (w2vbert::testing::is_openmp(run)) return create(thread, attributes, run, argument);
  if (w2vbert::testing::threads_left.fetch_sub(1) <= 0) {
    ++w2vbert::testing::threads_left;
    return EAGAIN;
  }
  return create(thread, attributes, run, argument);
}

// The program's own comes before the system's, also for what libstdc++ calls.
extern "C" __attribute__((visibility("default"), alias("w2vbert_create_limited_thread"))) int
pthread_create(pthread_t*, const pthread_attr_t*, void* (*)(void*), void*) noexcept;
