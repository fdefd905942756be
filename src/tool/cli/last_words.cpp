#include "tool/cli/last_words.h"

#include <dlfcn.h>
#include <pthread.h>
#include <unistd.h>

#include <atomic>
#include <cstdlib>
#include <exception>
#include <string_view>

#include "tool/cli/console.h"
#include "tool/cli/exit_status.h"

namespace w2vbert::tool {
namespace {

std::atomic<bool> g_ending{false};

[[noreturn]] void end_at_once(const ExitResult& result) noexcept {
  print_error(result.message);
  _exit(result.status);
}

[[noreturn]] void on_terminate() noexcept {
  const std::exception_ptr error = std::current_exception();
  end_at_once(error ? exit_result_of(error)
                    : ExitResult{kInternalError, "the program ended without a reason"});
}

void on_exit() noexcept {
  if (g_ending) return;
  end_at_once(
      {kInternalError, "a library has ended the program, for a reason that it has printed"});
}

}  // namespace

void say_last_words() {
  std::set_terminate(on_terminate);
  std::atexit(on_exit);
}

int end_with(int status) {
  g_ending = true;
  return status;
}

}  // namespace w2vbert::tool

// Sanitizers have a pthread_create of their own.
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)

namespace {

// Whether a thread is one of a pool that does not say that it cannot be started: OpenMP ends the
// program, and pthreadpool, which is in LibTorch, waits for it for ever. What starts at std::thread
// is another library's and throws.
bool is_of_a_pool(void* (*run)(void*)) {
  Dl_info library;
  if (::dladdr(reinterpret_cast<void*>(run), &library) == 0 || library.dli_fname == nullptr) {
    return false;
  }
  const std::string_view path = library.dli_fname;
  const std::string_view name = path.substr(path.rfind('/') + 1);
  return name.starts_with("libgomp") || name.starts_with("libomp") || name.starts_with("libiomp") ||
         name.starts_with("libtorch");
}

}  // namespace

extern "C" int w2vbert_create_thread(pthread_t* thread, const pthread_attr_t* attributes,
                                     void* (*run)(void*), void* argument) noexcept {
  using Create = int (*)(pthread_t*, const pthread_attr_t*, void* (*)(void*), void*);
  static const auto create = reinterpret_cast<Create>(::dlsym(RTLD_NEXT, "pthread_create"));
  const int error = create(thread, attributes, run, argument);
  if (error != 0 && is_of_a_pool(run)) {
    w2vbert::tool::print_error(
        "a thread cannot be started, expected a higher limit on processes or memory (ulimit -u, "
        "ulimit -v), or fewer threads (--threads)");
    _exit(w2vbert::tool::kInternalError);
  }
  return error;
}

// The program's own comes before the system's, for all libraries.
extern "C" __attribute__((visibility("default"), alias("w2vbert_create_thread"))) int
pthread_create(pthread_t*, const pthread_attr_t*, void* (*)(void*), void*) noexcept;

#endif
