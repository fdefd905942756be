#include "core/file_lock.h"

#include <fcntl.h>
#include <sys/file.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <mutex>
#include <optional>
#include <thread>
#include <utility>

#include "core/open_file.h"
#include "core/stopwatch.h"

namespace w2vbert {
namespace {

constexpr double kTellAfterSeconds = 2;
constexpr double kEndAfterSeconds = 1;  // other processes of a run hold a lock for a moment alone
constexpr auto kMaxPause = std::chrono::milliseconds(20);

struct Events {
  std::function<void(const std::string&)> told;
  std::function<bool()> end_asked;
};
std::mutex g_events_mutex;
Events g_events;

Events current_events() {
  const std::lock_guard lock(g_events_mutex);
  return g_events;
}

// For writing, which a network file system may want; flock itself does not. Without waiting for the
// other end of a pipe.
int open_to_lock(const std::string& path) {
  constexpr int kFlags = O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK;
  const int descriptor = open_file(path, O_RDWR | kFlags);
  if (descriptor >= 0 || (errno != EACCES && errno != EPERM && errno != EROFS)) return descriptor;
  return open_file(path, O_RDONLY | kFlags);
}

int lock(int descriptor, int operation, const std::string& path) {
  // Asked again and again: in flock(2) itself, a signal that is only remembered would end nothing.
  const Stopwatch waited;
  std::optional<Stopwatch> asked;
  bool is_told = false;
  for (auto pause = std::chrono::milliseconds(1);; pause = std::min(2 * pause, kMaxPause)) {
    if (::flock(descriptor, operation | LOCK_NB) == 0) return 0;
    if (errno != EWOULDBLOCK && errno != EINTR) return errno;
    const Events events = current_events();
    if (!is_told && waited.seconds() >= kTellAfterSeconds) {
      is_told = true;
      if (events.told) events.told(path);
    }
    if (!asked && events.end_asked && events.end_asked()) asked.emplace();
    if (asked && asked->seconds() >= kEndAfterSeconds) throw LockWaitEnded();
    std::this_thread::sleep_for(pause);
  }
}

}  // namespace

LockWaitEvents::LockWaitEvents(std::function<void(const std::string& path)> told,
                               std::function<bool()> end_asked) {
  const std::lock_guard lock(g_events_mutex);
  g_events = {std::move(told), std::move(end_asked)};
}

LockWaitEvents::~LockWaitEvents() {
  const std::lock_guard lock(g_events_mutex);
  g_events = {};
}

int lock_exclusively(int descriptor, const std::string& path) {
  return lock(descriptor, LOCK_EX, path);
}

int lock_shared(int descriptor, const std::string& path) { return lock(descriptor, LOCK_SH, path); }

FileLock::FileLock(const std::string& path) : file_(open_to_lock(path)) {
  if (file_.number() < 0) fail_storage(path, "cannot be opened", errno);
  const int error = lock_exclusively(file_.number(), path);
  is_held_ = error == 0;
  if (!is_held_ && error != ENOSYS && error != EOPNOTSUPP && error != ENOLCK && error != EBADF &&
      error != EINVAL) {
    fail_storage(path, "cannot be locked", error);
  }
}

}  // namespace w2vbert
