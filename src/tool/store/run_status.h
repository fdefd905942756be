// How far a run is, and whether its outputs are whole: from its directory alone, which is only
// read.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "tool/store/fingerprint.h"

namespace w2vbert::tool {

// One partition's journal and failures.
struct WorkerStatus {
  std::string partition;     // "<index>-of-<count>", or "" for a run that is not divided
  std::size_t inputs = 0;    // of the partition, when its worker last began
  std::size_t finished = 0;  // of them, before it
  std::size_t done = 0;      // since then
  std::size_t failed = 0;    // since then
  double audio_seconds = 0;  // of `done`
  std::string host;
  std::int64_t pid = 0;
  bool alive = false;         // on this host; of another nothing is known
  double silent_seconds = 0;  // since its journal was last written, by this host's clock
};

struct RunStatus {
  Fingerprint run;
  std::vector<WorkerStatus> workers;  // in the order of their partitions
  std::size_t outputs = 0;            // journaled by all workers, each name once
  double audio_seconds = 0;           // of them
  // Inputs and failures of the latest number of partitions, when all of them have begun; else 0.
  std::size_t inputs = 0;
  std::size_t failed = 0;
};

// The status of the run into the directory `path`. Throws UsageError where that holds no run.
RunStatus run_status(const std::string& path);

struct VerifyEvents {
  std::function<void(std::size_t done, std::size_t total)> progress = [](std::size_t, std::size_t) {
  };
  std::function<void(const std::string& message)> bad = [](const std::string&) {};
};
struct Verification {
  std::size_t outputs = 0;  // looked at
  std::size_t bad = 0;      // damaged, of another run
  std::size_t missing = 0;  // journaled, but not there
  double gigabytes = 0;     // read
};

// Reads every output in and below the directory `path` whole and compares it with its digest, with
// the run's fingerprint, and the list with the journals. Events are called on this thread. Throws
// UsageError for a directory that holds no run.
Verification verify_run(const std::string& path, int threads, const VerifyEvents& events);

}  // namespace w2vbert::tool
