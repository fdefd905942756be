// Exceptions -> one line and a kind.
#pragma once

#include <c10/util/Exception.h>

#include <exception>
#include <string>

#include "w2vbert/core/error.h"

namespace w2vbert::tool {

// The device is lost for this process (a sticky CUDA error); nothing is tried again.
class DeviceError : public Error {
 public:
  using Error::Error;
};

// What was computed does not fit into the type that it is to be stored in, or is no number that an
// answer can be made of.
class RangeError : public Error {
 public:
  using Error::Error;
};

struct Description {
  // not_found, not_a_file, unreadable, audio, memory, range, model, internal; of a worker's
  // request also json, request and interrupted
  std::string kind;
  std::string message;  // one line under 2 KB, no control bytes
};

// The error's words with the option of the command line that its setting stands for: in the place
// of the key where that is the setting, else behind them.
std::string message_of(const Error& error);

// LibTorch's message without its backtrace: the first line.
std::string one_line(const c10::Error& error);

// Memory that could not be had, on the CPU or a device. LibTorch's CPU allocator reports it as a
// plain c10::Error.
bool is_out_of_memory(const std::exception& error);

// `path`: the input at hand, or "". An Error that has a path keeps its own words; for anything else
// `path` comes first. Never throws.
Description describe(std::exception_ptr exception, const std::string& path = "") noexcept;

}  // namespace w2vbert::tool
