// Everything the program prints: results on stdout, messages, progress and errors on stderr.
#pragma once

#include <chrono>
#include <cstddef>
#include <exception>
#include <mutex>
#include <string>
#include <string_view>

namespace w2vbert::tool {

// Descriptors 0, 1 and 2 that are closed are opened on /dev/null: otherwise the next file would get
// their number, and messages would land in it. To be called before anything opens a file.
void open_standard_descriptors();

// The reader of stdout is gone (EPIPE); nothing is wrong.
struct ReaderGone : std::exception {};

// For commands whose result is what they print. Throws StorageError, or ReaderGone.
void print_result(std::string_view text);
// Columns of the terminal behind stdout, 40 to 100; 100 for a file or a pipe.
std::size_t result_width();
// For commands whose exit status is the verdict, and is out before what they print: a reader that
// goes away early does not change it. Throws StorageError.
void print_verdict(std::string_view text);
// For commands whose results are files: stdout may be anything.
void print_report(std::string_view text) noexcept;

// "error: <message>" on stderr, always.
void print_error(std::string_view message) noexcept;

// Messages and progress on stderr, unless quiet. The bar appears only on a terminal; elsewhere a
// plain line comes every half minute. Any thread may call its members.
class Messages {
 public:
  explicit Messages(bool quiet);
  ~Messages();
  Messages(const Messages&) = delete;
  Messages& operator=(const Messages&) = delete;

  void say(std::string_view line);
  void error(std::string_view message);  // print_error() that leaves the bar whole
  void progress(std::size_t done, std::size_t total, std::string_view remark);
  void clear();  // takes the bar away

 private:
  using Clock = std::chrono::steady_clock;

  // These with the mutex held.
  bool due(Clock::duration interval);
  void say_line(std::string_view line);
  void clear_bar();

  std::mutex mutex_;
  bool quiet_;
  bool terminal_;
  bool bar_shown_ = false;
  Clock::time_point last_;
};

}  // namespace w2vbert::tool
