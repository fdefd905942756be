// The answers that a run has given, line by line as they come: what a call that was ended has done
// is not done again.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/file.h"
#include "tool/store/input_identity.h"
#include "tool/store/lines_file.h"

namespace w2vbert::tool {

// What an answer is found by.
struct AskedClip {
  std::string path;
  std::optional<InputSegment> segment;
  std::optional<int> channel;  // of the file, from 1, where each is a clip of its own
  std::string asked;           // of it beside: a text to align, the name of a document, or ""
};

struct JournalAnswer {
  InputIdentity input;
  std::string line;  // without its line break
};

// A file of the answers of several runs. The object holds places in it, not the answers.
class AnswerJournal {
 public:
  // Reads what is at `path` and in the journals `others` of the same outputs. `run`: the
  // fingerprint of this run. Throws as open_lines(), and StorageError.
  AnswerJournal(std::string path, const std::vector<std::string>& others, std::string run);

  // What this run has answered last for a clip, of each journal that has it as it was written: that
  // of `path` first. Throws StorageError, here and below.
  std::vector<JournalAnswer> find(const AskedClip& clip) const;
  // Whether there is a line that is not as it was written.
  bool is_damaged() const noexcept { return is_damaged_; }
  // Opens a file that is there for what is added, to be told early where that is not possible.
  void open();
  // Makes the file, if need be.
  void add(const AskedClip& clip, const InputIdentity& input, std::string_view line);
  void synchronise();  // what was added survives a power cut then

 private:
  struct Place {
    std::uint64_t offset = 0;
    std::uint64_t bytes = 0;
  };
  struct Source {
    InputFile file;
    std::map<std::uint64_t, Place> places;  // by the hash of what a clip is found by
  };
  void read(const std::string& path);

  std::string path_;
  std::string run_;
  std::vector<Source> sources_;
  bool is_damaged_ = false;
  std::optional<AppendedLines> lines_;
};

}  // namespace w2vbert::tool
