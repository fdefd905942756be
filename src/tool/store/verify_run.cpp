#include "tool/store/verify_run.h"

#include <sys/stat.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstdint>
#include <exception>
#include <optional>
#include <set>
#include <thread>
#include <utility>
#include <vector>

#include "checkpoint/safetensors_header.h"
#include "core/bounded_queue.h"
#include "core/file.h"
#include "core/json.h"
#include "core/text.h"
#include "tool/store/clip_index.h"
#include "tool/store/journal.h"
#include "tool/store/output_format.h"
#include "tool/store/output_listing.h"
#include "tool/store/output_scan.h"
#include "tool/store/run_directory.h"
#include "w2vbert/core/error.h"

namespace w2vbert::tool {
namespace {

// Whether a name leads below the directory that it is in.
bool is_path_below(const std::string& name) {
  for (std::size_t begin = 0; begin <= name.size();) {
    const std::size_t end = std::min(name.find('/', begin), name.size());
    const std::string component = name.substr(begin, end - begin);
    if (component.empty() || component == "." || component == "..") return false;
    begin = end + 1;
  }
  return true;
}

constexpr std::int64_t kMaxWaitingBytes = 64 << 20;

struct Scanned {
  std::size_t index = 0;
  OutputScan scan = {};
  std::optional<StorageError> error = {};  // it could not be read
  std::exception_ptr failure = {};         // of the thread

  // In memory: a shard brings its whole index.
  std::int64_t bytes() const {
    return static_cast<std::int64_t>(sizeof *this + scan.index.size() + scan.problem.size());
  }
};

// Calls scan(index) for each of `count` outputs in some threads, and each(scanned) on this one.
void scan_all(std::size_t count, int threads,
              const std::function<OutputScan(std::size_t index)>& scan,
              const std::function<void(const Scanned&)>& each) {
  BoundedQueue<Scanned> scanned(kMaxWaitingBytes);
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
    Scanned one{index};
    try {
      one.scan = scan(index);
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
      for (std::size_t index = next.fetch_add(1); index < count; index = next.fetch_add(1)) {
        Scanned one = scan_one(index);
        const std::int64_t bytes = one.bytes();
        if (!scanned.push(std::move(one), bytes)) return;
      }
      if (running.fetch_sub(1) == 1) scanned.close();
    });
  }
  while (const std::optional<Scanned> one = scanned.pop()) {
    if (one->failure) std::rethrow_exception(one->failure);
    each(*one);
  }
}

// Says that a shard's index file does not say what the shard itself says; `clips` becomes what is
// in that.
std::string problem_of_index(const std::string& path, const std::string& index,
                             std::vector<IndexedClip>& clips) {
  try {
    clips = parse_index(index);
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

class Verifier {
 public:
  Verifier(std::string directory, const VerifyEvents& events)
      : directory_(std::move(directory)),
        events_(events),
        run_(read_run_record(directory_)),
        digest_(run_.digest()),
        ending_(ending_of(output_format_of(run_))),
        is_sharded_(shard_size_of(run_) > 0),
        records_(directory_) {}

  Verification run(int threads) {
    list_outputs();
    std::size_t done = 0;  // they end in any order
    scan_all(
        outputs_.size(), threads,
        [this](std::size_t index) {
          return scan_output(path_of(outputs_[index].name), /*verify=*/true,
                             outputs_[index].written());
        },
        [&](const Scanned& one) {
          judge(one);
          events_.progress(++done, outputs_.size());
        });
    records_.for_each([this](const JournalEntry& record) { look_for(record); });
    return result_;
  }

 private:
  struct Listed {
    std::string name;
    std::optional<JournalEntry> record;                                   // of this run
    bool is_of_another_run = false;                                       // as its record says
    std::string written() const { return record ? record->sha256 : ""; }  // its data's digest
  };

  std::string path_of(const std::string& name) const {
    return join_path(directory_, name) + ending_;
  }

  void bad(const std::string& problem) {
    ++result_.bad;
    events_.bad(problem);
  }

  void unreadable(const StorageError& error) {
    ++result_.unreadable;
    events_.bad(error.what());
  }

  void list_outputs() {
    for_each_output(
        directory_, ending_,
        [this](std::string name, bool is_below_run) {
          Listed output;
          output.name = std::move(name);
          if (auto record = records_.find(output.name)) {
            output.is_of_another_run = !may_be_of(*record, digest_);
            if (!output.is_of_another_run) output.record = std::move(record);
          }
          if (is_below_run && !output.record) {
            ++result_.foreign;  // its own run's record tells of it
          } else {
            outputs_.push_back(std::move(output));
          }
        },
        [this](const StorageError& error) { unreadable(error); });
    std::sort(outputs_.begin(), outputs_.end(),
              [](const Listed& a, const Listed& b) { return a.name < b.name; });
  }

  // Whether anything says that it is an output, of whichever run.
  bool is_output(const Listed& output, const OutputScan& scan) const {
    if (output.record || output.is_of_another_run) return true;
    if (is_sharded_ && is_name_of_shard(output.name)) return true;
    if (scan.fingerprint) return !scan.fingerprint->empty();
    return ending_ == kOutputEnding && was_output(path_of(output.name));
  }

  // Says where the input of an output, or of a clip in a shard, has been replaced since.
  std::string problem_of_input(const std::string& path, const JournalEntry& record) const {
    return quote_bytes(path) + ": " + in_quotes(record.name) +
           " is of an earlier content of its input" +
           (record.input.is_known() ? " " + quote_bytes(record.input.path) : "") +
           ", and the run has not replaced it yet";
  }

  // Why an output that is whole does not belong to this run; "" where it does.
  std::string problem_of(const Listed& output, const OutputScan& scan) const {
    const std::string path = quote_bytes(path_of(output.name));
    // What says nothing of its run, the record speaks for.
    const bool is_of_another_run =
        scan.fingerprint ? *scan.fingerprint != digest_ : output.is_of_another_run;
    if (is_of_another_run) return path + ": belongs to another run";
    const std::string written = output.written();
    if (!scan.sha256.empty() && !written.empty() && scan.sha256 != written) {
      return path + ": is whole, but not what was written last";
    }
    if (output.record && output.record->is_outdated) {
      return problem_of_input(path_of(output.name), *output.record);
    }
    return "";
  }

  void judge(const Scanned& one) {
    const Listed& output = outputs_[one.index];
    const OutputScan& scan = one.scan;
    if (!is_sharded_) found_.insert(output.name);
    if (one.error) {
      ++result_.outputs;
      return unreadable(*one.error);
    }
    // A hidden file that nothing says is an output: another program's.
    const bool is_hidden = file_name(output.name).starts_with('.');
    if (is_hidden && !output.record && scan.fingerprint != digest_) return;
    try {
      if (!is_output(output, scan)) return void(++result_.foreign);
    } catch (const StorageError& error) {
      ++result_.outputs;
      return unreadable(error);
    }
    ++result_.outputs;
    result_.gigabytes += static_cast<double>(scan.identity.bytes) / 1e9;
    std::string problem = scan.problem.empty() ? problem_of(output, scan) : scan.problem;
    if (is_sharded_) {
      try {
        std::vector<IndexedClip> clips;
        const std::string index_problem = problem_of_index(
            join_path(directory_, output.name) + std::string(kIndexEnding), scan.index, clips);
        if (problem.empty()) problem = index_problem;
        for (const IndexedClip& clip : clips) {
          found_.insert(clip.name);
          if (problem.empty()) problem = problem_of_clip(output, clip);
        }
      } catch (const StorageError& error) {
        unreadable(error);
      }
    }
    problem.empty() ? void(++result_.whole) : bad(problem);
  }

  std::string problem_of_clip(const Listed& shard, const IndexedClip& clip) const {
    const auto record = records_.find(clip.name);
    const bool is_outdated = record && may_be_of(*record, digest_) && record->is_outdated &&
                             record->input.digest == clip.input_digest;
    return is_outdated ? problem_of_input(path_of(shard.name), *record) : "";
  }

  // Whether what is recorded was found.
  void look_for(const JournalEntry& record) {
    if (!may_be_of(record, digest_) || found_.contains(record.name)) return;
    std::string problem;
    if (is_sharded_) {
      if (result_.unreadable > 0) return;  // what could not be read may hold it
      problem = quote_bytes(directory_) + ": " + quote_bytes(record.name) + ": is in no shard";
    } else {
      const std::string path = path_of(record.name);
      if (!is_path_below(record.name)) {  // nothing outside the directory is looked at
        return bad(quote_bytes(directory_) + ": " + quote_bytes(record.name) +
                   ": is recorded, and no name of an output");
      }
      struct stat status {};
      const bool is_there = ::lstat(path.c_str(), &status) == 0;
      // What could not be listed may hold it.
      if (!is_there && errno != ENOENT && errno != ENOTDIR) return;
      const bool is_file = is_there && S_ISREG(status.st_mode);
      if (is_file && !is_behind_a_link(record.name)) return;
      problem = quote_bytes(path) + (!is_there  ? ": is missing"
                                     : !is_file ? ": is no regular file"
                                                : ": lies behind a symbolic link");
    }
    ++result_.missing;
    events_.bad(problem);
  }

  bool is_behind_a_link(const std::string& name) const {
    for (std::size_t at = name.find('/'); at != std::string::npos; at = name.find('/', at + 1)) {
      struct stat status {};
      if (::lstat(join_path(directory_, name.substr(0, at)).c_str(), &status) == 0 &&
          S_ISLNK(status.st_mode)) {
        return true;
      }
    }
    return false;
  }

  const std::string directory_;
  const VerifyEvents& events_;
  const Fingerprint run_;
  const std::string digest_;
  const std::string ending_;
  const bool is_sharded_;
  const OutputRecords records_;
  std::vector<Listed> outputs_;
  std::set<std::string> found_;  // outputs; of shards: the clips in them
  Verification result_;
};

}  // namespace

Verification verify_run(const std::string& path, int threads, const VerifyEvents& events) {
  return Verifier(without_trailing_slashes(path), events).run(threads);
}

}  // namespace w2vbert::tool
