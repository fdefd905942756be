#include "tool/cli/signals.h"

#include <signal.h>
#include <unistd.h>

#include <atomic>

#include "tool/cli/exit_status.h"

namespace w2vbert::tool {
namespace {

// A step that takes longer leaves nothing: launchers kill after 30 seconds.
constexpr unsigned int kGraceSeconds = 10;

std::atomic<int> g_stop_signal{0};
static_assert(std::atomic<int>::is_always_lock_free);  // used in signal handlers

extern "C" void on_stop_signal(int number) {
  if (g_stop_signal.exchange(number) != 0) _exit(kSignalBase + number);
  alarm(kGraceSeconds);
}

// The grace is over, unless the alarm is another program's.
extern "C" void on_alarm(int number) {
  const int stop = g_stop_signal.load();
  _exit(kSignalBase + (stop != 0 ? stop : number));
}

void handle(int number, void (*handler)(int)) {
  struct sigaction action {};
  action.sa_handler = handler;
  action.sa_flags = SA_RESTART;
  sigemptyset(&action.sa_mask);
  sigaction(number, &action, nullptr);
}

}  // namespace

void ignore_write_signals() {
  handle(SIGPIPE, SIG_IGN);
  handle(SIGXFSZ, SIG_IGN);
}

void catch_stop_signals() {
  handle(SIGALRM, on_alarm);
  for (const int number : {SIGTERM, SIGINT, SIGUSR1}) {
    struct sigaction current {};
    // nohup and background jobs of a shell ignore SIGINT on purpose.
    if (sigaction(number, nullptr, &current) == 0 && current.sa_handler == SIG_IGN) continue;
    handle(number, on_stop_signal);
  }
}

int stop_signal() noexcept { return g_stop_signal.load(); }

void end_without_waiting(int status) noexcept { _exit(status); }

}  // namespace w2vbert::tool
