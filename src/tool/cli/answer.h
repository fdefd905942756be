// What is said of one clip, and where it is kept.
#pragma once

#include <cstddef>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "tool/corpus/partition.h"
#include "tool/formats/timed_text.h"
#include "tool/run/answer_run.h"
#include "tool/store/run_directory.h"

namespace w2vbert::tool {

// Words, characters or segments of a clip that do not overlap.
struct TimedTier {
  std::string name;
  std::vector<TimedText> labels;
};

struct Answer {
  nlohmann::ordered_json json;     // the members of its line
  std::string text;                // behind its path and a tab where lines are for people
  std::vector<TimedText> timed;    // words or segments: what --format writes
  std::vector<TimedTier> tiers;    // the same and more, for a format that has tiers
  std::vector<std::string> notes;  // told behind the path of the first clip that has them
};

// The file or the files of --output. What an earlier call of the same run has answered is not done
// again.
class KeptAnswers {
 public:
  KeptAnswers() = default;
  KeptAnswers(const KeptAnswers&) = delete;
  KeptAnswers& operator=(const KeptAnswers&) = delete;
  virtual ~KeptAnswers() = default;

  // Looks for the answers to the inputs of `partition`. Returns how many are there. To be called
  // first. Throws StorageError, here and below.
  virtual std::size_t take_answered(const Partition& partition) = 0;
  virtual bool is_answered(std::size_t index) const = 0;
  // To be called before the first of the next two, and before the model is loaded.
  virtual void begin() = 0;
  virtual void add(const AnsweredClip& clip, const Answer& answer) = 0;
  // `index`: into the input list, if there is one.
  virtual void add(const ClipFailure& failure, std::optional<std::size_t> index) = 0;
  // To be called once all is done. Returns how many lines of the earlier call are kept of inputs
  // that failed.
  virtual std::size_t finish() = 0;
};

}  // namespace w2vbert::tool
