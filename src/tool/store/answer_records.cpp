#include "tool/store/answer_records.h"

#include <utility>

namespace w2vbert::tool {
namespace {

// A path beside the output, which the run must not read.
std::string checked(std::string path, const ProtectedFiles& sources) {
  sources.check(path, "output");
  return path;
}

}  // namespace

AnswerRecords::AnswerRecords(const std::string& path, const ProtectedFiles& sources,
                             const InputList& inputs, std::string run)
    : inputs_(inputs),
      journal_(checked(path + ".journal.jsonl", sources), std::move(run)),
      failures_(checked(path + ".failures.jsonl", sources)) {
  check_lines(failures_.path(), LinesKind::kFailures);
}

std::optional<AnswerRecords::Found> AnswerRecords::find(std::size_t index) {
  const auto segment = inputs_.segment(index);
  auto answer = journal_.find(inputs_.path(index), segment, inputs_.channel(index));
  if (!answer) return std::nullopt;
  InputIdentity now;
  switch (
      check_.compare(answer->input, /*is_look_known=*/true, inputs_.place(index), segment, now)) {
    case Origin::kEqual:  // said with its new times from now on
      answer->input = std::move(now);
      looked_at_.push_back(*answer);
      [[fallthrough]];
    case Origin::kSame:
      return Found{EarlierAnswer::kOfInput, std::move(answer->line)};
    case Origin::kGone:
    case Origin::kUnreadable:
      return Found{EarlierAnswer::kUnknown, std::move(answer->line)};
    case Origin::kReplaced:
    case Origin::kOtherPart:
    case Origin::kOther:
      break;
  }
  return Found{EarlierAnswer::kOfAnother, std::move(answer->line)};
}

void AnswerRecords::begin() {
  failures_.begin();
  for (const JournalAnswer& answer : std::exchange(looked_at_, {})) journal_.add(answer);
}

}  // namespace w2vbert::tool
