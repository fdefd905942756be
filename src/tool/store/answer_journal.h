// The answers that a run has given, line by line as they come: what a call that was ended has done
// is not done again.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>

#include "tool/store/input_identity.h"
#include "tool/store/lines_file.h"

namespace w2vbert::tool {

struct JournalAnswer {
  InputIdentity input;
  std::optional<int> channel;  // of the file, from 1, where each is a clip of its own
  std::string line;            // without its line break
};

// A file of the answers of several runs. The object holds places in it, not the answers.
class AnswerJournal {
 public:
  // Reads what is there. `run`: the fingerprint of this one. Throws as open_lines(), and
  // StorageError.
  AnswerJournal(std::string path, std::string run);

  // What this run has answered last for a clip; nothing where the file does not have it as it was
  // written. Throws StorageError.
  std::optional<JournalAnswer> find(const std::string& path,
                                    const std::optional<InputSegment>& segment,
                                    std::optional<int> channel) const;
  // Makes the file, if need be. Throws StorageError.
  void add(const JournalAnswer& answer);

 private:
  struct Place {
    std::uint64_t offset = 0;
    std::uint64_t bytes = 0;
  };

  std::string path_;
  std::string run_;
  std::map<std::uint64_t, Place> places_;  // by the hash of what a clip is found by
  std::optional<InputFile> there_;         // what was there
  std::optional<AppendedLines> lines_;
};

}  // namespace w2vbert::tool
