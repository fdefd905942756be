// What a run knows of the answers that it gives: those of earlier calls, and the failures.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "tool/corpus/input_list.h"
#include "tool/store/answer_journal.h"
#include "tool/store/input_identity.h"
#include "tool/store/lines_file.h"
#include "tool/store/run_directory.h"
#include "tool/store/writable.h"

namespace w2vbert::tool {

// How an earlier answer and the input that it would be of now go together.
enum class EarlierAnswer {
  kOfInput,    // the file is the same
  kUnknown,    // it cannot be read
  kOfAnother,  // there is another file now
};

// In two files: <path>.journal.jsonl and <path>.failures.jsonl.
class AnswerRecords {
 public:
  // `run`: its fingerprint. Reads what is there. `inputs` outlives it. Throws StorageError, also
  // for another program's file, and UsageError for one of `sources`.
  AnswerRecords(const std::string& path, const ProtectedFiles& sources, const InputList& inputs,
                std::string run);

  struct Found {
    EarlierAnswer origin = EarlierAnswer::kUnknown;
    std::string line;
  };
  // What an earlier call of this run has answered for an input. Throws StorageError.
  std::optional<Found> find(std::size_t index);

  // To be called before the first of the next two: the failures of calls that have ended go.
  // Throws StorageError, here and below.
  void begin();
  void add(const JournalAnswer& answer) { journal_.add(answer); }
  void add(const ClipFailure& failure) { failures_.add(failure_line(failure)); }
  // To be called before the run says that it is done.
  void synchronise() { failures_.synchronise(); }

 private:
  const InputList& inputs_;
  AnswerJournal journal_;
  FailureLines failures_;
  OriginCheck check_;
  std::vector<JournalAnswer> looked_at_;  // of files that are the same with other times
};

}  // namespace w2vbert::tool
