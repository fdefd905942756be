// What a run knows of the answers that it gives: those of earlier calls, and the failures.
#pragma once

#include <cstddef>
#include <functional>
#include <optional>
#include <string>
#include <utility>
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
  // What is asked of an input beside its path, segment and channel.
  using Asked = std::function<std::string(std::size_t index)>;

  // Reads what is there, also the journals `others` of the same outputs. `run`: its fingerprint.
  // `inputs` outlives it. Throws StorageError, also for another program's file, and UsageError for
  // one of `sources`.
  AnswerRecords(const std::string& path, const std::vector<std::string>& others,
                const ProtectedFiles& sources, const InputList& inputs, std::string run,
                Asked asked);

  struct Found {
    EarlierAnswer origin = EarlierAnswer::kUnknown;
    std::string line;
  };
  // What earlier calls of this run have answered for an input, or for another channel of it: of
  // this path's journal first. Throws StorageError.
  std::vector<Found> find(std::size_t index, std::optional<int> channel = {});
  // Whether something may have been answered that the journals do not tell any more.
  bool is_damaged() const noexcept { return journal_.is_damaged(); }

  // To be called before the first of the next two: the failures of calls that have ended go.
  // Throws StorageError, here and below.
  void begin();
  void add(std::size_t index, const InputIdentity& input, std::string_view line);
  void add(const ClipFailure& failure) { failures_.add(failure_line(failure)); }
  // What was added survives a power cut then.
  void synchronise();

 private:
  AskedClip clip_of(std::size_t index, std::optional<int> channel) const;

  const InputList& inputs_;
  const Asked asked_;
  AnswerJournal journal_;
  FailureLines failures_;
  OriginCheck check_;
  // Inputs of which the journal has other times than the same files have now.
  std::vector<std::pair<AskedClip, InputIdentity>> looked_at_;
};

}  // namespace w2vbert::tool
