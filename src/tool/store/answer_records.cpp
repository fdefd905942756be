#include "tool/store/answer_records.h"

#include "w2vbert/core/error.h"

namespace w2vbert::tool {
namespace {

// A path beside the output, which the run must not read.
std::string checked(std::string path, const ProtectedFiles& sources) {
  sources.check(path, "output");
  return path;
}

}  // namespace

AnswerRecords::AnswerRecords(const std::string& path, const std::vector<std::string>& others,
                             const ProtectedFiles& sources, const InputList& inputs,
                             std::string run, Asked asked)
    : inputs_(inputs),
      asked_(std::move(asked)),
      journal_(checked(path + ".journal.jsonl", sources), others, std::move(run)),
      failures_(checked(path + ".failures.jsonl", sources)) {
  check_lines(failures_.path(), LinesKind::kFailures);
}

AskedClip AnswerRecords::clip_of(std::size_t index, std::optional<int> channel) const {
  const auto segment = inputs_.segment(index);
  std::string asked = asked_ ? asked_(index) : "";
  if (segment && !segment->has_offset) asked += '\0';  // nor has its line
  return {inputs_.path(index), segment, channel ? channel : inputs_.channel(index),
          std::move(asked)};
}

std::vector<AnswerRecords::Found> AnswerRecords::find(std::size_t index,
                                                      std::optional<int> channel) {
  std::vector<Found> found;
  const AskedClip clip = clip_of(index, channel);
  for (JournalAnswer& answer : journal_.find(clip)) {
    InputIdentity now;
    EarlierAnswer origin = EarlierAnswer::kOfAnother;
    switch (check_.compare(answer.input, /*is_look_known=*/true, inputs_.place(index), clip.segment,
                           now)) {
      case Origin::kEqual:  // said with its new times from now on
        looked_at_.emplace_back(clip, std::move(now));
        [[fallthrough]];
      case Origin::kSame:
        origin = EarlierAnswer::kOfInput;
        break;
      case Origin::kGone:
      case Origin::kUnreadable:
        origin = EarlierAnswer::kUnknown;
        break;
      case Origin::kReplaced:
      case Origin::kOtherPart:
      case Origin::kOther:
        break;
    }
    found.push_back({origin, std::move(answer.line)});
  }
  return found;
}

void AnswerRecords::begin() {
  journal_.open();
  failures_.begin();
  for (const auto& [clip, input] : std::exchange(looked_at_, {})) {
    for (const JournalAnswer& answer : journal_.find(clip)) {
      if (answer.input.digest == input.digest) journal_.add(clip, input, answer.line);
    }
  }
}

void AnswerRecords::add(std::size_t index, const InputIdentity& input, std::string_view line) {
  journal_.add(clip_of(index, {}), input, line);
}

void AnswerRecords::synchronise() {
  journal_.synchronise();
  failures_.synchronise();
}

}  // namespace w2vbert::tool
