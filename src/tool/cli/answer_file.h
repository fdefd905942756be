// The lines of the commands that give an answer for each clip: transcribe, classify, segment,
// embed.
#pragma once

#include <cstddef>
#include <functional>
#include <map>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "tool/cli/answer.h"
#include "tool/corpus/input_list.h"
#include "tool/corpus/partition.h"
#include "tool/run/answer_run.h"
#include "tool/store/answer_records.h"
#include "tool/store/fingerprint.h"
#include "tool/store/recorded_file.h"
#include "tool/store/writable.h"

namespace w2vbert::tool {

// A line of JSON: the clip's path and seconds, `answer`, and what else tells which clip it is of.
std::string json_line_of(const AnsweredClip& clip, const nlohmann::ordered_json& answer);

// The file of `--output`: the lines of all clips in the list's order, written whole at the end.
// Beside it are the record of the run (recorded_file.h) and those of the answers
// (answer_records.h).
//
// An input that fails keeps its line of an earlier call of the same run, for a failure says nothing
// of what is finished, and so do the files of a folder that could not be listed; lines of inputs
// that are not in the list any more go.
class AnswerFile : public KeptAnswers {
 public:
  // Throws as RecordedFile and AnswerRecords do. `inputs` outlives it.
  AnswerFile(const std::string& path, const ProtectedFiles& sources, const InputList& inputs,
             const Fingerprint& run, const AnswerRecords::Asked& asked = {});

  std::size_t take_answered(const Partition& partition) override;
  bool is_answered(std::size_t index) const override { return answered_[index]; }
  void begin() override { records_.begin(); }
  void add(const AnsweredClip& clip, const Answer& answer) override;
  void add(const ClipFailure& failure, std::optional<std::size_t> index) override;
  std::size_t finish() override;

 private:
  std::size_t keep_earlier_lines();

  const InputList& inputs_;
  const bool is_asked_more_;  // than a path, a segment and a channel
  RecordedFile output_;
  AnswerRecords records_;
  // The first string, and one for each input: its line, and behind it the earlier lines of files in
  // folders that could not be listed.
  std::vector<std::string> lines_;
  std::vector<bool> answered_;  // by an earlier call
  // What the journal has of inputs that cannot be read now, and of the other channels of theirs; ""
  // of a file that is another one.
  std::map<std::size_t, std::string> earlier_;
  std::set<std::size_t> failed_;
};

}  // namespace w2vbert::tool
