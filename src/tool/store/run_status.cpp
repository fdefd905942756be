#include "tool/store/run_status.h"

#include <signal.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstdint>
#include <filesystem>
#include <span>
#include <string_view>
#include <unordered_map>
#include <unordered_set>
#include <utility>

#include "checkpoint/safetensors_header.h"
#include "core/file.h"
#include "core/file_blocks.h"
#include "core/host_name.h"
#include "core/json.h"
#include "core/stable_hash.h"
#include "tool/corpus/partition.h"
#include "tool/store/clip_index.h"
#include "tool/store/journal.h"
#include "tool/store/output_format.h"
#include "tool/store/output_listing.h"
#include "tool/store/output_scan.h"
#include "tool/store/run_directory.h"
#include "w2vbert/core/error.h"

namespace w2vbert::tool {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t kFailureBlockBytes = 1 << 16;

std::size_t lines_in(const std::string& path) {
  if (!exists(path)) return 0;
  const auto file = InputFile::open<StorageError>(path);
  std::size_t lines = 0;
  for_each_block(file, 0, file.size(), kFailureBlockBytes, [&](std::span<const std::byte> block) {
    lines += static_cast<std::size_t>(std::count(block.begin(), block.end(), std::byte{'\n'}));
  });
  return lines;
}

// A process of another namespace has the number of another process here.
bool is_alive_here(const WorkerStatus& worker, const Kernel& kernel) {
  const bool is_of_here =
      kernel.boot.empty() ||
      (kernel.boot == this_kernel().boot && kernel.pid_namespace == this_kernel().pid_namespace);
  return worker.host == host_name() && is_of_here && worker.pid > 0 &&
         (::kill(static_cast<pid_t>(worker.pid), 0) == 0 || errno == EPERM);
}

double seconds_since_change(const std::string& path) {
  std::error_code error;
  const auto changed = fs::last_write_time(path, error);
  if (error) return 0;
  return std::max(
      0.0, std::chrono::duration<double>(fs::file_time_type::clock::now() - changed).count());
}

// What the journals say of one run, without the names: there may be millions.
struct JournalsRead {
  struct OfPartition {
    Partition partition;
    WorkerStatus worker;
  };
  std::vector<OfPartition> partitions;                // in their order
  std::unordered_map<std::uint64_t, double> seconds;  // by the hash of an output's name
  std::unordered_set<std::uint64_t> of_other_runs;

  bool is_of_another_run(std::uint64_t name) const {
    return of_other_runs.contains(name) && !seconds.contains(name);
  }
};

WorkerStatus read_worker(const PartitionFile& journal, const std::string& run, JournalsRead& read) {
  WorkerStatus worker;
  Kernel kernel;
  bool is_of_run = true;
  // Several workers may have begun at once with one journal, and all have done the same.
  std::unordered_set<std::uint64_t> done;
  read_journal(
      journal.path,
      [&](const JournalBegin& begin) {
        is_of_run = may_be_of(begin, run);
        worker = {};
        done.clear();
        if (!is_of_run) return;
        worker.inputs = begin.inputs;
        worker.finished = begin.finished;
        worker.host = begin.host;
        worker.pid = begin.pid;
        kernel = begin.kernel;
      },
      [&](const JournalEntry& entry) {
        const std::uint64_t name = stable_hash(entry.name);
        if (!may_be_of(entry, run)) {
          read.of_other_runs.insert(name);
          return;
        }
        read.seconds[name] = entry.audio_seconds;
        if (is_of_run && done.insert(name).second) worker.audio_seconds += entry.audio_seconds;
      });
  worker.partition = journal.partition.label();
  worker.done = done.size();
  worker.failed = lines_in(join_path(parent_path(journal.path), failures_name(worker.partition)));
  worker.alive = is_alive_here(worker, kernel);
  worker.silent_seconds = seconds_since_change(journal.path);
  return worker;
}

JournalsRead read_journals(const std::string& directory, const std::string& run) {
  JournalsRead read;
  for (const PartitionFile& journal : journals_in(directory)) {
    read.partitions.push_back({journal.partition, read_worker(journal, run, read)});
  }
  std::sort(read.partitions.begin(), read.partitions.end(), [](const auto& a, const auto& b) {
    return std::pair(a.partition.count, a.partition.index) <
           std::pair(b.partition.count, b.partition.index);
  });
  return read;
}

// The clips in all shards that are there, by their indexes: a worker that is killed has put its
// shard in place and not yet journaled its clips, perhaps.
void count_clips(const std::string& directory, const JournalsRead& read, RunStatus& status) {
  std::unordered_set<std::string> files;
  for (FolderEntry& entry : entries_of(directory)) {
    if (entry.kind == FolderEntry::Kind::kFile) files.insert(std::move(entry.name));
  }
  std::unordered_set<std::uint64_t> clips;
  for (const std::string& file : files) {
    if (!is_shard_index(file) || !files.contains(shard_of_index(file))) continue;
    try {
      for (const IndexedClip& clip : parse_index(read_small_file<StorageError>(
               join_path(directory, file), kMaxSafetensorsHeaderBytes))) {
        const std::uint64_t name = stable_hash(clip.name);
        if (!read.is_of_another_run(name) && clips.insert(name).second) {
          status.audio_seconds += clip.audio_seconds;
        }
      }
    } catch (const JsonError&) {  // `verify` has words for it
    }
  }
  status.outputs = clips.size();
}

// The files themselves, whatever became of the journals; these know how long each is.
void count_files(const std::string& directory, const JournalsRead& read, RunStatus& status) {
  const std::string digest = status.run.digest();
  const std::string ending(ending_of(output_format_of(status.run)));
  // What no record names may be another program's; .npy files say nothing of themselves.
  const auto is_of_run = [&](const std::string& name, bool is_below_run) {
    if (is_below_run || file_name(name).starts_with('.')) return false;
    return ending != kOutputEnding || was_output_of(join_path(directory, name) + ending, digest);
  };
  const auto count = [&](const std::string& name, bool is_below_run) {
    const std::uint64_t hash = stable_hash(name);
    const auto known = read.seconds.find(hash);
    const bool is_known = known != read.seconds.end();
    if (read.is_of_another_run(hash) || (!is_known && !is_of_run(name, is_below_run))) return;
    ++status.outputs;
    if (is_known) status.audio_seconds += known->second;
  };
  for_each_output(directory, ending, count, [](const StorageError& error) { throw error; });
}

}  // namespace

RunStatus run_status(const std::string& path) {
  const std::string directory = without_trailing_slashes(path);
  RunStatus status;
  status.run = read_run_record(directory);
  JournalsRead read = read_journals(directory, status.run.digest());
  if (shard_size_of(status.run) > 0) {
    count_clips(directory, read, status);
  } else {
    count_files(directory, read, status);
  }

  const auto& journals = read.partitions;
  const auto latest =
      std::min_element(journals.begin(), journals.end(), [](const auto& a, const auto& b) {
        return a.worker.silent_seconds < b.worker.silent_seconds;
      });
  std::size_t begun = 0, inputs = 0, finished = 0;
  for (const auto& [partition, worker] : journals) {
    if (partition.count != latest->partition.count) continue;
    ++begun;
    inputs += worker.inputs;
    finished += std::min(worker.inputs, worker.finished + worker.done);
    status.failed += worker.failed;
  }
  if (latest != journals.end() && begun == latest->partition.count) {
    status.inputs = inputs;
    status.finished = finished;
  }
  for (auto& one : read.partitions) status.workers.push_back(std::move(one.worker));
  return status;
}

}  // namespace w2vbert::tool
