// Which file an output was made of.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>

#include "core/file.h"
#include "tool/corpus/archive.h"
#include "tool/corpus/input_list.h"

namespace w2vbert::tool {

// The samples of each channel of a file, at its own rate, that an output is of: the same however a
// list asks for them, with a duration that is the file's or without one.
struct FilePart {
  std::int64_t begin = 0;
  std::int64_t end = 0;
  std::int64_t total = 0;  // of the file
  int sample_rate_hz = 0;
};
// Under which outputs and journals say it.
inline constexpr const char* kPartBeginKey = "source_begin";
inline constexpr const char* kPartEndKey = "source_end";
inline constexpr const char* kPartTotalKey = "source_samples";
inline constexpr const char* kSourceRateKey = "source_sample_rate_hz";
// What was read of it; nothing where one of the numbers is missing, as in earlier versions.
inline std::optional<FilePart> file_part(std::optional<std::int64_t> begin,
                                         std::optional<std::int64_t> end,
                                         std::optional<std::int64_t> total,
                                         std::optional<std::int64_t> sample_rate_hz) {
  if (!begin || !end || !total || sample_rate_hz.value_or(0) < 1) return std::nullopt;
  return FilePart{*begin, *end, *total, static_cast<int>(*sample_rate_hz)};
}
// "0.2 s to 0.5 s", or "the whole file".
std::string part_text(const FilePart& part);

struct InputIdentity {
  std::string path;      // as it was given; InputPlace::path
  std::string absolute;  // by its text alone
  std::string resolved;  // absolute and through all links, as of then
  std::uint64_t bytes = 0;
  std::int64_t modified_ns = 0;         // of a member's container
  std::string digest;                   // XXH3-128 of the file's bytes, in hexadecimal
  std::optional<InputSegment> segment;  // of the file, as the list asked for it
  std::optional<FilePart> part = {};
  std::int64_t changed_ns = 0;  // of that inode (ctime); 0: a record that does not say it

  bool is_known() const noexcept { return !path.empty(); }
};

// The file that is open: what was read from it before is of these bytes. `progress` is called for
// each block. Throws AudioError where it cannot be read, or has changed, or another one has taken
// its place.
InputIdentity identify_input(
    const InputFile& file, const std::function<void()>& progress = [] {});

// How an output's record and the input that has its name now go together.
enum class Origin {
  kSame,        // the file that the record is of, as far as place, size and times say
  kEqual,       // a file with the same bytes
  kReplaced,    // in the same place another one
  kOtherPart,   // another part of that file that gives the same name
  kOther,       // another file that gives the same name
  kGone,        // the input is not there, and its place is the record's
  kUnreadable,  // the input is there and cannot be read: nothing is known
};

class OriginCheck {
 public:
  // `recorded` has a digest; without a path that and the part are compared. `is_look_known`: its
  // size and time are those of the file that the output is of; else its place is all that they
  // tell. `now` becomes the file of the input as it was looked at, with a digest where that was
  // needed.
  Origin compare(const InputIdentity& recorded, bool is_look_known, const InputPlace& place,
                 const std::optional<InputSegment>& segment, InputIdentity& now);

 private:
  InputOpener opener_;
  InputIdentity last_;  // whose digest was computed: a list may ask for many segments of one file
};

}  // namespace w2vbert::tool
