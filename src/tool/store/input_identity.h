// Which file an output was made of.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>

#include "core/file.h"
#include "tool/corpus/input_list.h"

namespace w2vbert::tool {

struct InputIdentity {
  std::string path;      // as it was given
  std::string resolved;  // absolute and through all links, as of then
  std::uint64_t bytes = 0;
  std::int64_t modified_ns = 0;
  std::string digest;                   // XXH3-128 of the file's bytes, in hexadecimal
  std::optional<InputSegment> segment;  // of the file

  bool is_known() const noexcept { return !path.empty(); }
};

// The file that is open: what was read from it before is of these bytes. `progress` is called for
// each block. Throws AudioError where it cannot be read, or has changed, or another one has taken
// its place.
InputIdentity identify_input(
    const InputFile& file, const std::function<void()>& progress = [] {});

// How an output's record and the input that has its name now go together.
enum class Origin {
  kSame,        // the file that the record is of, as far as place, size and time say
  kEqual,       // a file with the same bytes
  kReplaced,    // in the same place another one
  kOther,       // another file that gives the same name
  kGone,        // the input is not there, and its place is the record's
  kUnreadable,  // the input is there and cannot be read: nothing is known
};

class OriginCheck {
 public:
  // `recorded` has a digest; without a path that alone is compared. `is_look_known`: its size and
  // time are those of the file that the output is of; else its place is all that they tell. `now`
  // becomes the file of the input as it was looked at, with a digest where that was needed.
  Origin compare(const InputIdentity& recorded, bool is_look_known, const std::string& path,
                 const std::optional<InputSegment>& segment, InputIdentity& now);

 private:
  InputIdentity last_;  // whose digest was computed: a list may ask for many segments of one file
};

}  // namespace w2vbert::tool
