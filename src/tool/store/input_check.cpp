#include "tool/store/input_check.h"

#include <optional>
#include <string>
#include <utility>

#include "core/text.h"
#include "w2vbert/core/error.h"

namespace w2vbert::tool {
namespace {

// Whether an output that does not say which part of a file it is of can be of that one: as far as
// its length tells, which it does not without a duration.
bool has_length_of(const JournalEntry& output, const std::optional<InputSegment>& segment) {
  return output.audio_seconds == 0 || may_last(segment, output.audio_seconds);
}

}  // namespace

bool InputCheck::is_replaced(JournalEntry output, bool is_recorded, bool is_whole) {
  ++found_.replaced;
  if (is_whole && !is_recorded) {
    output.is_outdated = true;
    directory_.adopt(std::move(output));
  }
  return false;
}

bool InputCheck::is_of_input(std::size_t index, const std::string& path, JournalEntry output,
                             const std::string& input_digest, const std::optional<FilePart>& part,
                             bool is_record, bool is_whole) {
  InputIdentity recorded = output.input;
  if (!input_digest.empty()) {
    is_record = is_record && recorded.digest == input_digest;
    recorded.digest = input_digest;
    if (part) recorded.part = part;
  } else if (!is_record) {
    recorded = {};
  }
  const bool is_outdated = is_record && output.is_outdated;
  output.is_outdated = false;
  output.input = recorded;
  const std::optional<InputSegment> segment = inputs_.segment(index);
  if ((!recorded.part && !recorded.is_known() && !has_length_of(output, segment)) ||
      (recorded.digest.empty() && is_outdated)) {
    return is_replaced(std::move(output), is_outdated, is_whole);
  }
  if (recorded.digest.empty()) {
    if (is_whole) ++found_.unrecorded;
    return true;
  }
  const std::string input = inputs_.path(index);
  InputIdentity now;
  switch (check_.compare(recorded, is_record && recorded.is_known(), inputs_.place(index), segment,
                         now)) {
    case Origin::kSame:
      if (is_outdated && is_whole) directory_.adopt(std::move(output));  // it came back
      return true;
    case Origin::kGone:
      // What replaced the input cannot be read any more either: no output is of it.
      return !is_outdated || is_replaced(std::move(output), is_outdated, is_whole);
    case Origin::kEqual:
      output.input = std::move(now);
      if (is_whole) directory_.adopt(std::move(output));
      return true;
    case Origin::kUnreadable:
      if (is_outdated) return is_replaced(std::move(output), is_outdated, is_whole);
      if (is_whole && found_.unreadable++ == 0) found_.first_unreadable = input;
      return true;
    case Origin::kReplaced:
      return is_replaced(std::move(output), is_outdated, is_whole);
    case Origin::kOtherPart:
      throw UsageError(
          input, "",
          segment_text(segment) + ": gives the output name " + in_quotes(output.name) + ", which " +
              quote_bytes(path) + " has from " +
              (recorded.part ? part_text(*recorded.part) : segment_text(recorded.segment)) +
              " of it",
          "the same part of the file, names that differ, or another output directory", "name");
    case Origin::kOther:
      break;
  }
  const bool is_told_by_path = recorded.path != input;
  throw UsageError(
      is_told_by_path || now.resolved.empty() ? input : now.resolved, "",
      "gives the output name " + in_quotes(output.name) + ", which " + quote_bytes(path) +
          " has from " +
          (recorded.is_known() ? quote_bytes(is_told_by_path ? recorded.path : recorded.resolved)
                               : "another file"),
      "names that differ, or another output directory", "name");
}

}  // namespace w2vbert::tool
