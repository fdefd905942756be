// Whether the outputs of a run are whole: from its directory alone, which is only read.
#pragma once

#include <cstddef>
#include <functional>
#include <string>

namespace w2vbert::tool {

struct VerifyEvents {
  std::function<void(std::size_t done, std::size_t total)> progress = [](std::size_t, std::size_t) {
  };
  std::function<void(const std::string& message)> bad = [](const std::string&) {};
};
struct Verification {
  std::size_t outputs = 0;  // of the run, looked at
  std::size_t whole = 0;    // of them
  std::size_t bad = 0;      // damaged, of another run, not what was written last, outdated
  std::size_t unreadable =
      0;                    // of which nothing is known: files, and folders that cannot be listed
  std::size_t missing = 0;  // journaled, but not there
  // Files with the ending of outputs that nothing says are this run's: other programs', and those
  // of runs in folders below.
  std::size_t foreign = 0;
  double gigabytes = 0;  // read
};

// Reads every output in and below the directory `path` whole and compares it with its digest, with
// the run's fingerprint and the latest record of it, and the list with the records. Events are
// called on this thread. Throws UsageError for a directory that holds no run, StorageError for
// records that cannot be read.
Verification verify_run(const std::string& path, int threads, const VerifyEvents& events);

}  // namespace w2vbert::tool
