// What a worker has written, line by line: for people who watch a run, and which input each output
// is of.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <limits>
#include <map>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "core/file.h"
#include "core/host_name.h"
#include "core/json.h"
#include "tool/corpus/partition.h"
#include "tool/store/input_identity.h"
#include "tool/store/lines_file.h"

namespace w2vbert::tool {

struct JournalEntry {
  std::string name;
  std::int64_t frames = 0;  // rows of input_features
  double audio_seconds = 0;
  std::string sha256;  // of the output's data; empty in a shard, which has one of its own
  InputIdentity input = {};
  std::string fingerprint = {};  // of the run
  // Which of two records of one output is the later one: each worker that begins takes a higher
  // number than all that stand in the directory's journals. 0: of an earlier version.
  std::uint64_t generation = 0;
  // `input` has become another file in the same place, and the output is still to be replaced.
  bool is_outdated = false;
};

// Whether a line of a journal, a JournalEntry or JournalBegin, is of the run with that fingerprint;
// earlier versions did not say.
template <class Line>
bool may_be_of(const Line& line, std::string_view run) {
  return line.fingerprint.empty() || line.fingerprint == run;
}

// Appends lines of JSON to a file. Outputs are in their place before
// their line is, so a line that is lost with a machine costs nothing but itself.
class Journal {
 public:
  // Opens the file, or makes it, and cuts off a last line that was not finished. What is added is
  // of that generation and run. Throws StorageError.
  explicit Journal(std::string path, std::uint64_t generation = 1, std::string fingerprint = "");

  // {"inputs": n, "finished": n, "host": name, "pid": n, "boot": …, "pid_namespace": …,
  // "generation": n, "fingerprint": …}: a worker begins.
  void begin(std::size_t inputs, std::size_t finished);
  // {"name": …, "frames": n, "audio_seconds": s, "sha256": …, "generation": n, "fingerprint": …,
  // "input": {…}, "outdated": true}; what is not known or not so is left out.
  void add(const JournalEntry& entry);

 private:
  std::uint64_t generation_;
  std::string fingerprint_;
  AppendedLines lines_;
};

// An input as a journal has it. `object`: what json_of() gave; anything else gives one that is not
// known.
nlohmann::ordered_json json_of(const InputIdentity& input);
InputIdentity input_in(const JsonValue& object);

// What a worker says of itself when it begins.
struct JournalBegin {
  std::size_t inputs = 0;
  std::size_t finished = 0;  // before it
  std::string host;
  std::int64_t pid = 0;
  Kernel kernel;            // of the process; empty: not told
  std::string fingerprint;  // of the run
};

// Calls `begin` for each worker that began and `entry` for each output, in their order. Lines that
// are no journal's are passed over. Throws StorageError for a file that cannot be read.
void read_journal(const std::string& path, const std::function<void(const JournalBegin&)>& begin,
                  const std::function<void(const JournalEntry&)>& entry);

// journal.jsonl and failures.jsonl, or journal.<label>.jsonl and so on for a partition's label.
std::string journal_name(std::string_view label);
std::string failures_name(std::string_view label);
// Whose journal it is; nothing for another name, such as that of a copy.
std::optional<Partition> partition_of_journal(std::string_view file_name);
// Whether it is one of a journal or of failures.
bool is_name_of_lines(std::string_view file_name);

struct PartitionFile {
  std::string path;
  Partition partition;
};
// The journals in a directory, in the order of their names. Throws StorageError.
std::vector<PartitionFile> journals_in(const std::string& directory);
// The same of the lists of failures.
std::vector<PartitionFile> failures_in(const std::string& directory);

// The latest record of each output, of all journals of a directory. It holds places in the
// journals, not the records, so that millions of them fit into memory.
class OutputRecords {
 public:
  OutputRecords() = default;
  // Throws StorageError for a journal that cannot be read: what it says is not known then.
  explicit OutputRecords(const std::string& directory);

  // Above all that are there, as far as numbers go.
  std::uint64_t next_generation() const noexcept {
    return generation_ + (generation_ < std::numeric_limits<std::uint64_t>::max() ? 1 : 0);
  }
  // Reads the record again. Throws StorageError.
  std::optional<JournalEntry> find(std::string_view name) const;
  // All of them, in the order of the journals.
  void for_each(const std::function<void(const JournalEntry&)>& record) const;

 private:
  struct Place {
    std::uint64_t generation = 0;
    std::uint32_t journal = 0;
    std::uint32_t bytes = 0;
    std::uint64_t offset = 0;
  };
  JournalEntry read(const Place& place) const;

  std::vector<std::string> journals_;
  // The one that was read last: there may be more journals than descriptors.
  mutable std::optional<std::pair<std::uint32_t, InputFile>> open_;
  std::map<std::uint64_t, Place> places_;  // by the hash of the name
  std::uint64_t generation_ = 0;
};

}  // namespace w2vbert::tool
