// Runs the real program as its users do.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "support/namespaces.h"

namespace w2vbert::testing {

struct Result {
  int status = -1;  // exit status, or 1000 + the number of the signal that killed it
  std::string out;
  std::string err;

  // The lines of `err` that start with "error: ".
  std::vector<std::string> errors() const;
};

struct Conditions {
  std::map<std::string, std::string> environment = {};  // beside a clean one
  std::string input = {};                               // what stdin holds
  std::string working_directory = {};
  std::optional<std::string> stdout_path = {};  // instead of catching it
  bool stdout_reader_gone = false;
  std::vector<int> closed = {};                       // descriptors
  std::optional<std::uint64_t> file_size_limit = {};  // RLIMIT_FSIZE
  int signal = 0;                                     // sent once `signal_after` is there
  std::string signal_after = {};                      // a path
  int second_signal = 0;                              // right after the first
};

Result run_program(const std::vector<std::string>& words, const Conditions& conditions = {});

}  // namespace w2vbert::testing
