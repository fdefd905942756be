// What a worker has written, line by line: for people who watch a run, never for a decision.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "core/descriptor.h"

namespace w2vbert::tool {

struct JournalEntry {
  std::string name;
  std::int64_t frames = 0;  // rows of input_features
  double audio_seconds = 0;
  std::string sha256;  // of the output's data; empty in a shard, which has one of its own
};

// Appends lines of JSON to a file; each is written in one piece. Outputs are in their place before
// their line is, so a line that is lost with a machine costs nothing but itself.
class Journal {
 public:
  // Opens the file, or makes it, and cuts off a last line that was not finished. Throws
  // StorageError.
  explicit Journal(std::string path);

  // {"inputs": n, "finished": n, "host": name, "pid": n}: a worker begins.
  void begin(std::size_t inputs, std::size_t finished);
  // {"name": …, "frames": n, "audio_seconds": s, "sha256": …}, the last if there is one
  void add(const JournalEntry& entry);

 private:
  void append(const std::string& line);

  std::string path_;
  Descriptor descriptor_;
};

struct JournalRead {
  std::size_t inputs = 0;    // of the last worker that began
  std::size_t finished = 0;  // before it
  std::string host;
  std::int64_t pid = 0;
  std::vector<JournalEntry> entries;  // of all
  std::size_t entries_of_last = 0;    // of them, the last worker's: at the end
};
// Throws UsageError for a file that cannot be read; lines that are no journal's are passed over.
JournalRead read_journal(const std::string& path);

// journal.jsonl and failures.jsonl, or journal.<label>.jsonl and so on for a partition's label.
std::string journal_name(std::string_view label);
std::string failures_name(std::string_view label);
// The label in the name of a journal; nothing for another name.
std::optional<std::string> label_of_journal(std::string_view file_name);

// The name of each output in a directory's journals, and the digest of its data.
std::unordered_map<std::string, std::string> journaled_digests(const std::string& directory);

}  // namespace w2vbert::tool
