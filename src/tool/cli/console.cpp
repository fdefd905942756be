#include "tool/cli/console.h"

#include <fcntl.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cstring>

#include "core/descriptor.h"
#include "core/text.h"
#include "w2vbert/core/error.h"

namespace w2vbert::tool {
namespace {

constexpr std::size_t kMaxErrorBytes = 2000;
constexpr auto kBarInterval = std::chrono::milliseconds(100);
constexpr auto kLineInterval = std::chrono::seconds(30);
constexpr std::size_t kBarCells = 24;

std::optional<std::size_t> width_of(int descriptor) {
  winsize size{};
  if (::ioctl(descriptor, TIOCGWINSZ, &size) != 0 || size.ws_col == 0) return std::nullopt;
  return size.ws_col;
}

}  // namespace

std::size_t result_width() {
  constexpr std::size_t kLeast = 40, kMost = 100;
  return std::clamp(width_of(STDOUT_FILENO).value_or(kMost), kLeast, kMost);
}

void open_standard_descriptors() {
  for (int descriptor = STDIN_FILENO; descriptor <= STDERR_FILENO; ++descriptor) {
    if (::fcntl(descriptor, F_GETFD) >= 0) continue;
    // The lowest free number is the one that is missing.
    if (::open("/dev/null", O_RDWR) != descriptor) std::_Exit(1);
  }
}

void print_result(std::string_view text) {
  const int error = try_write_all(STDOUT_FILENO, text);
  if (error == EPIPE) throw ReaderGone();
  if (error != 0) {
    throw StorageError("stdout", "", std::strerror(error), "a place that can be written");
  }
}

void print_verdict(std::string_view text) {
  try {
    print_result(text);
  } catch (const ReaderGone&) {
  }
}

void print_report(std::string_view text) noexcept { (void)try_write_all(STDOUT_FILENO, text); }

void print_error(std::string_view message) noexcept {
  try {
    (void)try_write_all(STDERR_FILENO, "error: " + quote_bytes(message, kMaxErrorBytes) + "\n");
  } catch (...) {
    (void)try_write_all(STDERR_FILENO, "error: not enough memory\n");
  }
}

Messages::Messages(bool quiet)
    : quiet_(quiet), terminal_(::isatty(STDERR_FILENO) == 1), last_(Clock::now()) {}

Messages::~Messages() { clear(); }

void Messages::clear() {
  const std::lock_guard lock(mutex_);
  clear_bar();
}

void Messages::clear_bar() {
  if (!bar_shown_) return;
  bar_shown_ = false;
  (void)try_write_all(STDERR_FILENO, "\r\x1b[K");
}

bool Messages::due(Clock::duration interval) {
  const auto now = Clock::now();
  if (now - last_ < interval) return false;
  last_ = now;
  return true;
}

void Messages::say(std::string_view line) {
  const std::lock_guard lock(mutex_);
  say_line(line);
}

void Messages::say_line(std::string_view line) {
  if (quiet_) return;
  clear_bar();
  (void)try_write_all(STDERR_FILENO, std::string(line) + "\n");
}

void Messages::error(std::string_view message) {
  const std::lock_guard lock(mutex_);
  clear_bar();
  print_error(message);
}

void Messages::progress(std::size_t done, std::size_t total, std::string_view remark) {
  if (quiet_ || total == 0) return;
  const std::lock_guard lock(mutex_);
  const std::string counts = std::to_string(done) + "/" + std::to_string(total);
  if (!terminal_) {
    if (due(kLineInterval)) say_line(counts + " " + std::string(remark));
    return;
  }
  if (!due(kBarInterval) && done != 0 && done != total) return;
  const std::size_t cells = kBarCells * done / total;
  std::string bar = "[";
  bar.append(cells, '#').append(kBarCells - cells, '.').append("] ");
  bar.append(counts).append(" ").append(remark);
  const std::size_t width = width_of(STDERR_FILENO).value_or(80) - 1;
  if (bar.size() > width) {
    // A part of the remark is left out whole, unless it is the first.
    const std::size_t comma = bar.rfind(", ", width);
    bar.resize(comma == std::string::npos ? width : comma);
  }
  (void)try_write_all(STDERR_FILENO, "\r" + bar + "\x1b[K");
  bar_shown_ = true;
}

}  // namespace w2vbert::tool
