#include "tool/store/run_status.h"

#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <filesystem>
#include <map>
#include <optional>
#include <thread>
#include <unordered_map>
#include <unordered_set>
#include <utility>

#include "checkpoint/safetensors_header.h"
#include "core/bounded_queue.h"
#include "core/file.h"
#include "core/host_name.h"
#include "core/json.h"
#include "core/text.h"
#include "tool/corpus/line_file.h"
#include "tool/corpus/partition.h"
#include "tool/store/clip_index.h"
#include "tool/store/journal.h"
#include "tool/store/output_format.h"
#include "tool/store/run_directory.h"
#include "w2vbert/core/error.h"

namespace w2vbert::tool {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t kMaxFailureBytes = 1 << 20;

std::size_t lines_in(const std::string& path) {
  std::size_t lines = 0;
  if (!exists(path)) return 0;
  read_lines(path, kMaxFailureBytes, "a list of failures",
             [&](std::size_t, std::string_view) { ++lines; });
  return lines;
}

bool is_alive_here(const WorkerStatus& worker) {
  return worker.host == host_name() && worker.pid > 0 &&
         (::kill(static_cast<pid_t>(worker.pid), 0) == 0 || errno == EPERM);
}

double seconds_since_change(const std::string& path) {
  std::error_code error;
  const auto changed = fs::last_write_time(path, error);
  if (error) return 0;
  return std::max(
      0.0, std::chrono::duration<double>(fs::file_time_type::clock::now() - changed).count());
}

struct PartitionJournal {
  Partition partition;
  WorkerStatus worker;
  std::vector<JournalEntry> entries;
};

std::vector<PartitionJournal> read_journals(const std::string& directory) {
  std::vector<PartitionJournal> journals;
  for (const auto& entry : fs::directory_iterator(directory)) {
    const auto label = label_of_journal(entry.path().filename().string());
    const auto partition = label ? Partition::from_label(*label) : std::nullopt;
    if (!partition) continue;
    JournalRead read = read_journal(entry.path().string());
    PartitionJournal& journal = journals.emplace_back();
    journal.partition = *partition;
    WorkerStatus& worker = journal.worker;
    worker.partition = *label;
    worker.inputs = read.inputs;
    worker.finished = read.finished;
    worker.host = read.host;
    worker.pid = read.pid;
    worker.done = read.entries_of_last;
    for (std::size_t i = read.entries.size() - read.entries_of_last; i < read.entries.size(); ++i) {
      worker.audio_seconds += read.entries[i].audio_seconds;
    }
    worker.failed = lines_in(join_path(directory, failures_name(*label)));
    worker.alive = is_alive_here(worker);
    worker.silent_seconds = seconds_since_change(entry.path().string());
    journal.entries = std::move(read.entries);
  }
  std::sort(journals.begin(), journals.end(),
            [](const PartitionJournal& a, const PartitionJournal& b) {
              return std::pair(a.partition.count, a.partition.index) <
                     std::pair(b.partition.count, b.partition.index);
            });
  return journals;
}

// Says that a shard's index file does not say what the shard itself says; adds its clips to
// `names`.
std::string problem_of_index(const std::string& path, const std::string& index,
                             std::unordered_set<std::string>& names) {
  try {
    for (IndexedClip& clip : parse_index(index)) names.insert(std::move(clip.name));
    if (read_small_file<UsageError>(path, kMaxSafetensorsHeaderBytes) == index) return "";
  } catch (const UsageError& error) {
    return error.what();
  } catch (const JsonError& error) {
    return quote_bytes(path) + ": the shard's own index: " + error.what();
  }
  return quote_bytes(path) + ": says something else than the shard's own index";
}

// The clips in all shards, by their indexes, and their seconds: a worker that is killed has put its
// shard in place and not yet journaled its clips, perhaps.
std::unordered_map<std::string, double> indexed_clips(const std::string& directory) {
  std::unordered_map<std::string, double> clips;
  for (const auto& entry : fs::directory_iterator(directory)) {
    if (!is_shard_index(entry.path().filename().string())) continue;
    try {
      for (IndexedClip& clip : parse_index(
               read_small_file<UsageError>(entry.path().string(), kMaxSafetensorsHeaderBytes))) {
        clips.emplace(std::move(clip.name), clip.audio_seconds);
      }
    } catch (const JsonError&) {  // `verify` has words for it
    }
  }
  return clips;
}

}  // namespace

RunStatus run_status(const std::string& path) {
  const std::string directory = without_trailing_slashes(path);
  RunStatus status;
  status.run = read_run_record(directory);
  std::vector<PartitionJournal> journals = read_journals(directory);
  std::unordered_map<std::string, double> outputs;
  if (shard_size_of(status.run) > 0) {
    outputs = indexed_clips(directory);
  } else {
    for (const PartitionJournal& journal : journals) {
      for (const JournalEntry& entry : journal.entries) outputs[entry.name] = entry.audio_seconds;
    }
  }
  status.outputs = outputs.size();
  for (const auto& [name, seconds] : outputs) status.audio_seconds += seconds;

  const auto latest = std::min_element(journals.begin(), journals.end(),
                                       [](const PartitionJournal& a, const PartitionJournal& b) {
                                         return a.worker.silent_seconds < b.worker.silent_seconds;
                                       });
  std::size_t begun = 0, inputs = 0;
  for (const PartitionJournal& journal : journals) {
    if (journal.partition.count != latest->partition.count) continue;
    ++begun;
    inputs += journal.worker.inputs;
    status.failed += journal.worker.failed;
  }
  if (latest != journals.end() && begun == latest->partition.count) status.inputs = inputs;
  for (PartitionJournal& journal : journals) status.workers.push_back(std::move(journal.worker));
  return status;
}

Verification verify_run(const std::string& path, int threads, const VerifyEvents& events) {
  const std::string directory = without_trailing_slashes(path);
  const Fingerprint run = read_run_record(directory);
  const std::string digest = run.digest();
  const std::string ending(ending_of(output_format_of(run)));
  const std::unordered_map<std::string, std::string> journaled = journaled_digests(directory);
  std::unordered_set<std::string> found;
  const auto name_of = [&](const std::string& output) {
    return output.substr(directory.size() + 1,
                         output.size() - directory.size() - 1 - ending.size());
  };
  std::vector<std::string> outputs;
  for (const auto& entry : fs::recursive_directory_iterator(directory)) {
    const std::string output = entry.path().string();
    if (output.ends_with(ending) && !entry.path().filename().string().starts_with('.')) {
      outputs.push_back(output);
    }
  }
  std::sort(outputs.begin(), outputs.end());

  struct Scanned {
    std::size_t index;
    OutputScan scan;
    std::uint64_t bytes;
  };
  const bool sharded = shard_size_of(run) > 0;
  BoundedQueue<Scanned> scanned(1000);
  std::atomic<std::size_t> next{0};
  std::atomic<int> running{threads};
  // Joins them also after an exception: where one cannot be started, or where an event throws.
  struct Workers {
    BoundedQueue<Scanned>& scanned;
    std::vector<std::thread> threads;
    ~Workers() {
      scanned.close();
      for (std::thread& thread : threads) thread.join();
    }
  };
  Workers workers{scanned, {}};
  for (int i = 0; i < threads; ++i) {
    workers.threads.emplace_back([&] {
      for (std::size_t index = next.fetch_add(1); index < outputs.size();
           index = next.fetch_add(1)) {
        std::error_code error;
        const std::uint64_t bytes = fs::file_size(outputs[index], error);
        const auto written = journaled.find(name_of(outputs[index]));
        if (!scanned.push({index,
                           scan_output(outputs[index], true,
                                       written == journaled.end() ? "" : written->second),
                           error ? 0 : bytes},
                          1))
          return;
      }
      if (running.fetch_sub(1) == 1) scanned.close();
    });
  }
  Verification result;
  while (const std::optional<Scanned> one = scanned.pop()) {
    const std::string& output = outputs[one->index];
    if (!sharded) found.insert(name_of(output));
    result.gigabytes += static_cast<double>(one->bytes) / 1e9;
    std::string problem = one->scan.problem;
    if (problem.empty() && one->scan.fingerprint.value_or(digest) != digest) {
      problem = quote_bytes(output) + ": belongs to another run";
    }
    if (sharded) {
      const std::string index_problem = problem_of_index(
          directory + "/" + name_of(output) + std::string(kIndexEnding), one->scan.index, found);
      if (problem.empty()) problem = index_problem;
    }
    if (!problem.empty()) {
      ++result.bad;
      events.bad(problem);
    }
    events.progress(++result.outputs, outputs.size());
  }
  for (const auto& [name, written] : journaled) {
    if (found.contains(name)) continue;
    ++result.missing;
    events.bad(sharded ? quote_bytes(directory) + ": " + quote_bytes(name) + ": is in no shard"
                       : quote_bytes(directory + "/" + name + ending) + ": is missing");
  }
  return result;
}

}  // namespace w2vbert::tool
