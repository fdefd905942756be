// How far a run is: from its directory alone, which is only read.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "tool/store/fingerprint.h"

namespace w2vbert::tool {

// One partition's journal and failures.
struct WorkerStatus {
  std::string partition;     // "<index>-of-<count>", or "" for a run that is not divided
  std::size_t inputs = 0;    // of the partition, when its worker last began
  std::size_t finished = 0;  // of them, before it
  std::size_t done = 0;      // since then, each name once
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
  std::size_t outputs = 0;            // that are there; of shards: the clips in them
  double audio_seconds = 0;           // of those that are recorded
  // How many of `inputs`, as far as the workers say, were finished before or are done since.
  std::size_t finished = 0;
  // Inputs and failures of the latest number of partitions, when all of them have begun; else 0.
  std::size_t inputs = 0;
  std::size_t failed = 0;
};

// The status of the run into the directory `path`. Throws UsageError where that holds no run,
// StorageError where it cannot be read.
RunStatus run_status(const std::string& path);

}  // namespace w2vbert::tool
