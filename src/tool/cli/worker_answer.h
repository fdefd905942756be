// What `w2vbert worker` prints: a JSON object a line (docs/worker.md).
#pragma once

#include <atomic>
#include <cstddef>
#include <exception>
#include <functional>
#include <map>
#include <mutex>
#include <string>

#include "tool/tasks/worker.h"

namespace w2vbert::tool {

// The answer on one line. Tensors that are in no file are in it: base64 of little-endian float32,
// whatever float type they are computed in, and int64.
std::string json_line_of(const WorkerAnswer& answer);

// Prints answers, of any thread, one whole line after the other.
class AnswerPrinter {
 public:
  // `print` is called for each line by one thread at a time. `printed` is called behind it, and for
  // lines that are not printed because an earlier one could not be.
  AnswerPrinter(bool in_order, std::function<void(const std::string& line)> print,
                std::function<void()> printed);

  // Waits while the reader of the lines does not read. In order: a line waits for those of all
  // earlier turns.
  void add(std::size_t turn, std::string line);

  // Why a line could not be printed: nothing is printed behind it.
  bool has_failed() const { return has_failed_; }
  void rethrow_failure() const;

 private:
  void print(const std::string& line);

  const bool in_order_;
  const std::function<void(const std::string& line)> print_;
  const std::function<void()> printed_;
  mutable std::mutex mutex_;
  std::size_t next_turn_ = 0;
  std::map<std::size_t, std::string> early_;  // by turn
  std::exception_ptr failure_;
  std::atomic<bool> has_failed_{false};  // for those who must not wait for a line that is printed
};

}  // namespace w2vbert::tool
