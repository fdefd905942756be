#include "tool/store/input_check.h"

#include <optional>
#include <string>
#include <utility>

#include "core/resolved_path.h"
#include "core/text.h"
#include "w2vbert/core/error.h"

namespace w2vbert::tool {
namespace {

std::string text_of(const std::optional<InputSegment>& segment) {
  if (!segment) return "as a whole";
  const std::string begin = "from " + number_text(segment->offset_seconds);
  if (segment->duration_seconds == 0) return begin + " seconds on";
  return begin + " to " + number_text(segment->offset_seconds + segment->duration_seconds) +
         " seconds";
}

}  // namespace

bool InputCheck::is_of_input(std::size_t index, const std::string& path, JournalEntry output,
                             const std::string& input_digest, bool is_record, bool is_whole) {
  InputIdentity recorded = output.input;
  if (!input_digest.empty()) {
    is_record = is_record && recorded.digest == input_digest;
    recorded.digest = input_digest;
  } else if (!is_record) {
    recorded = {};
  }
  if (recorded.digest.empty()) {
    if (is_whole) ++found_.unrecorded;
    return true;
  }
  const std::string input = inputs_.path(index);
  InputIdentity now;
  switch (check_.compare(recorded, is_record && recorded.is_known(), input, inputs_.segment(index),
                         now)) {
    case Origin::kSame:
    case Origin::kGone:
      return true;
    case Origin::kEqual:
      output.input = std::move(now);
      if (is_whole) directory_.adopt(std::move(output));
      return true;
    case Origin::kUnreadable:
      if (is_whole && found_.unreadable++ == 0) found_.first_unreadable = input;
      return true;
    case Origin::kReplaced:
      ++found_.replaced;
      return false;
    case Origin::kOther:
      break;
  }
  if (recorded.is_known() &&
      (recorded.path == input || recorded.resolved == resolved_path(input))) {
    throw UsageError(input, "",
                     "is asked for " + text_of(inputs_.segment(index)) + ", and " +
                         quote_bytes(path) + " has it " + text_of(recorded.segment),
                     "the same segment of it, or another output directory");
  }
  throw UsageError(input, "",
                   "gives the output name " + in_quotes(output.name) + ", which " +
                       quote_bytes(path) + " has from " +
                       (recorded.is_known() ? quote_bytes(recorded.path) : "another file"),
                   "names that differ, or another output directory", "name");
}

}  // namespace w2vbert::tool
