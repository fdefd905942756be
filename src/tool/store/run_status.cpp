#include "tool/store/run_status.h"

#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <exception>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string_view>
#include <thread>
#include <utility>

#include "checkpoint/safetensors_header.h"
#include "core/bounded_queue.h"
#include "core/descriptor.h"
#include "core/file.h"
#include "core/host_name.h"
#include "core/json.h"
#include "core/text.h"
#include "tool/corpus/partition.h"
#include "tool/store/clip_index.h"
#include "tool/store/journal.h"
#include "tool/store/output_format.h"
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
  std::string block(kFailureBlockBytes, '\0');
  for (std::uint64_t at = 0; at < file.size(); at += block.size()) {
    block.resize(static_cast<std::size_t>(std::min<std::uint64_t>(block.size(), file.size() - at)));
    file.read_at(at, block.data(), block.size());
    lines += static_cast<std::size_t>(std::count(block.begin(), block.end(), '\n'));
  }
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

struct FolderEntry {
  std::string name;
  bool is_directory = false;  // itself: links to directories are not
};

// Throws StorageError.
std::vector<FolderEntry> entries_of(const std::string& folder) {
  const std::unique_ptr<DIR, int (*)(DIR*)> open(::opendir(folder.c_str()), ::closedir);
  const auto expected = "a directory that can be read";
  if (!open) fail_storage(folder, "cannot be listed", errno, expected);
  std::vector<FolderEntry> entries;
  errno = 0;
  while (const dirent* entry = ::readdir(open.get())) {
    FolderEntry found{entry->d_name, entry->d_type == DT_DIR};
    if (found.name == "." || found.name == "..") continue;
    if (entry->d_type == DT_UNKNOWN) {  // some file systems do not say it here
      struct stat status {};
      found.is_directory =
          ::fstatat(::dirfd(open.get()), entry->d_name, &status, AT_SYMLINK_NOFOLLOW) == 0 &&
          S_ISDIR(status.st_mode);
    }
    entries.push_back(std::move(found));
    errno = 0;
  }
  if (errno != 0) fail_storage(folder, "cannot be listed", errno, expected);
  return entries;
}

struct PartitionJournal {
  Partition partition;
  WorkerStatus worker;
  std::vector<JournalEntry> entries;
};

std::vector<PartitionJournal> read_journals(const std::string& directory) {
  std::vector<PartitionJournal> journals;
  for (const std::string& name : journals_in(directory)) {
    const std::string path = join_path(directory, name);
    const auto label = label_of_journal(name);
    const auto partition = label ? Partition::from_label(*label) : std::nullopt;
    if (!partition) continue;
    JournalRead read = read_journal(path);
    PartitionJournal& journal = journals.emplace_back();
    journal.partition = *partition;
    WorkerStatus& worker = journal.worker;
    worker.partition = *label;
    worker.inputs = read.inputs;
    worker.finished = read.finished;
    worker.host = read.host;
    worker.pid = read.pid;
    // Several workers may have begun at once with one journal, and all have done the same.
    std::set<std::string_view> done;
    for (std::size_t i = read.entries.size() - read.entries_of_last; i < read.entries.size(); ++i) {
      if (!done.insert(read.entries[i].name).second) continue;
      worker.audio_seconds += read.entries[i].audio_seconds;
    }
    worker.done = done.size();
    worker.failed = lines_in(join_path(directory, failures_name(*label)));
    worker.alive = is_alive_here(worker);
    worker.silent_seconds = seconds_since_change(path);
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
                             std::set<std::string>& names) {
  try {
    for (IndexedClip& clip : parse_index(index)) names.insert(std::move(clip.name));
    if (read_small_file<UsageError, StorageError>(path, kMaxSafetensorsHeaderBytes) == index) {
      return "";
    }
  } catch (const UsageError& error) {
    return error.what();
  } catch (const JsonError& error) {
    return quote_bytes(path) + ": the shard's own index: " + error.what();
  }
  return quote_bytes(path) + ": says something else than the shard's own index";
}

// The clips in all shards, by their indexes, and their seconds: a worker that is killed has put its
// shard in place and not yet journaled its clips, perhaps.
std::map<std::string, double> indexed_clips(const std::string& directory) {
  std::map<std::string, double> clips;
  for (const FolderEntry& entry : entries_of(directory)) {
    if (!is_shard_index(entry.name)) continue;
    try {
      for (IndexedClip& clip : parse_index(read_small_file<StorageError>(
               join_path(directory, entry.name), kMaxSafetensorsHeaderBytes))) {
        clips.emplace(std::move(clip.name), clip.audio_seconds);
      }
    } catch (const JsonError&) {  // `verify` has words for it
    }
  }
  return clips;
}

// The names of the outputs in and below `directory`, whose files end in `ending`: regular files,
// also those whose names begin with a dot. `failed` is called for what is below and cannot be
// listed.
std::vector<std::string> outputs_in(const std::string& directory, std::string_view ending,
                                    const std::function<void(const StorageError&)>& failed) {
  std::vector<std::string> names;
  std::vector<std::string> folders = {""};  // below `directory`, with a slash
  while (!folders.empty()) {
    const std::string folder = std::move(folders.back());
    folders.pop_back();
    try {
      for (const FolderEntry& entry : entries_of(join_path(directory, folder))) {
        const std::string name = folder + entry.name;
        if (entry.is_directory) {
          folders.push_back(name + "/");
        } else if (entry.name.size() > ending.size() && entry.name.ends_with(ending)) {
          names.push_back(name.substr(0, name.size() - ending.size()));
        }
      }
    } catch (const StorageError& error) {
      if (folder.empty()) throw;
      failed(error);
    }
  }
  std::sort(names.begin(), names.end());
  return names;
}

}  // namespace

RunStatus run_status(const std::string& path) {
  const std::string directory = without_trailing_slashes(path);
  RunStatus status;
  status.run = read_run_record(directory);
  std::vector<PartitionJournal> journals = read_journals(directory);
  if (shard_size_of(status.run) > 0) {
    const auto clips = indexed_clips(directory);
    status.outputs = clips.size();
    for (const auto& [name, seconds] : clips) status.audio_seconds += seconds;
  } else {
    // The files themselves, whatever became of the journals; these know how long each is.
    std::map<std::string_view, double> seconds;
    for (const PartitionJournal& journal : journals) {
      for (const JournalEntry& entry : journal.entries) seconds[entry.name] = entry.audio_seconds;
    }
    const auto outputs = outputs_in(directory, ending_of(output_format_of(status.run)),
                                    [](const StorageError& error) { throw error; });
    for (const std::string& name : outputs) {
      const auto known = seconds.find(name);
      if (known == seconds.end() && file_name(name).starts_with('.')) continue;
      ++status.outputs;
      if (known != seconds.end()) status.audio_seconds += known->second;
    }
  }

  const auto latest = std::min_element(journals.begin(), journals.end(),
                                       [](const PartitionJournal& a, const PartitionJournal& b) {
                                         return a.worker.silent_seconds < b.worker.silent_seconds;
                                       });
  std::size_t begun = 0, inputs = 0, finished = 0;
  for (const PartitionJournal& journal : journals) {
    if (journal.partition.count != latest->partition.count) continue;
    ++begun;
    const WorkerStatus& worker = journal.worker;
    inputs += worker.inputs;
    finished += std::min(worker.inputs, worker.finished + worker.done);
    status.failed += journal.worker.failed;
  }
  if (latest != journals.end() && begun == latest->partition.count) {
    status.inputs = inputs;
    status.finished = finished;
  }
  for (PartitionJournal& journal : journals) status.workers.push_back(std::move(journal.worker));
  return status;
}

Verification verify_run(const std::string& path, int threads, const VerifyEvents& events) {
  const std::string directory = without_trailing_slashes(path);
  const Fingerprint run = read_run_record(directory);
  const std::string digest = run.digest();
  const std::string ending(ending_of(output_format_of(run)));
  const OutputRecords records(directory);
  Verification result;
  const auto unreadable = [&](const StorageError& error) {
    ++result.unreadable;
    events.bad(error.what());
  };
  const std::vector<std::string> outputs = outputs_in(directory, ending, unreadable);
  const auto path_of = [&](const std::string& name) { return join_path(directory, name) + ending; };

  struct Scanned {
    std::size_t index;
    OutputScan scan;
    std::optional<StorageError> error;  // it could not be read
    std::exception_ptr failure;         // of the thread
  };
  const bool sharded = shard_size_of(run) > 0;
  std::vector<std::optional<std::string>> written(outputs.size());  // the digest of its record
  for (std::size_t i = 0; i < outputs.size(); ++i) {
    if (const auto record = records.find(outputs[i])) written[i] = record->sha256;
  }
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
  const auto scan_one = [&](std::size_t index) {
    Scanned one{index, {}, {}, {}};
    try {
      one.scan = scan_output(path_of(outputs[index]), /*verify=*/true, written[index].value_or(""));
    } catch (const StorageError& error) {
      one.error = error;
    } catch (...) {
      one.failure = std::current_exception();
    }
    return one;
  };
  Workers workers{scanned, {}};
  for (int i = 0; i < threads; ++i) {
    workers.threads.emplace_back([&] {
      for (std::size_t index = next.fetch_add(1); index < outputs.size();
           index = next.fetch_add(1)) {
        if (!scanned.push(scan_one(index), 1)) return;
      }
      if (running.fetch_sub(1) == 1) scanned.close();
    });
  }
  std::set<std::string> found;
  while (const std::optional<Scanned> one = scanned.pop()) {
    if (one->failure) std::rethrow_exception(one->failure);
    const std::string& name = outputs[one->index];
    const std::string output = path_of(name);
    const OutputScan& scan = one->scan;
    if (!sharded) found.insert(name);
    if (one->error) {
      unreadable(*one->error);
      events.progress(++result.outputs, outputs.size());
      continue;
    }
    // A hidden file that nothing says is an output: another program's.
    if (file_name(name).starts_with('.') && !written[one->index] && scan.fingerprint != digest) {
      events.progress(++result.outputs, outputs.size());
      continue;
    }
    result.gigabytes += static_cast<double>(scan.identity.bytes) / 1e9;
    std::string problem = scan.problem;
    if (problem.empty() && scan.fingerprint.value_or(digest) != digest) {
      problem = quote_bytes(output) + ": belongs to another run";
    }
    if (problem.empty() && !scan.sha256.empty() && !written[one->index].value_or("").empty() &&
        scan.sha256 != *written[one->index]) {
      problem = quote_bytes(output) + ": is whole, but not what was written last";
    }
    if (sharded) {
      try {
        const std::string index_problem = problem_of_index(
            join_path(directory, name) + std::string(kIndexEnding), scan.index, found);
        if (problem.empty()) problem = index_problem;
      } catch (const StorageError& error) {
        unreadable(error);
      }
    }
    if (problem.empty()) {
      ++result.whole;
    } else {
      ++result.bad;
      events.bad(problem);
    }
    events.progress(++result.outputs, outputs.size());
  }
  records.for_each([&](const JournalEntry& record) {
    if (found.contains(record.name)) return;
    // What could not be listed or read may hold it.
    if (sharded && result.unreadable > 0) return;
    if (!sharded) {
      struct stat status {};
      if (::lstat(path_of(record.name).c_str(), &status) != 0 && errno != ENOENT &&
          errno != ENOTDIR) {
        return;
      }
    }
    ++result.missing;
    events.bad(sharded
                   ? quote_bytes(directory) + ": " + quote_bytes(record.name) + ": is in no shard"
                   : quote_bytes(path_of(record.name)) + ": is missing");
  });
  return result;
}

}  // namespace w2vbert::tool
