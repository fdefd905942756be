// How the program ends, and what it says when something went wrong.
#pragma once

#include <exception>
#include <string>

namespace w2vbert::tool {

enum ExitStatus : int {
  kDone = 0,
  kInternalError = 1,
  kUsage = 2,
  kSomeInputsFailed = 3,
  kBadModel = 4,
  kBadStorage = 5,
  kDeviceLost = 6,
  kSignalBase = 128,  // + the signal's number
};

struct ExitResult {
  int status = kDone;
  std::string
      message;  // one line for stderr, without "error: "; empty when there is nothing to say
};

// What an exception that reached the top means. Never throws.
ExitResult exit_result_of(std::exception_ptr exception) noexcept;

}  // namespace w2vbert::tool
