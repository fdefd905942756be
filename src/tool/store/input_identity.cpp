#include "tool/store/input_identity.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

#include <sys/stat.h>

#include <cerrno>
#include <cmath>
#include <cstddef>
#include <span>
#include <string_view>

#include "audio/audio_part.h"
#include "core/file_blocks.h"
#include "core/resolved_path.h"
#include "core/text.h"
#include "w2vbert/core/error.h"

namespace w2vbert::tool {
namespace {

constexpr std::uint64_t kInputBlockBytes = 256 << 10;

bool is_same_segment(const std::optional<InputSegment>& a, const std::optional<InputSegment>& b) {
  if (!a || !b) return a.has_value() == b.has_value();
  return a->offset_seconds == b->offset_seconds && a->duration_seconds == b->duration_seconds;
}

// Whether the list asks for that part of the file.
bool is_part(const FilePart& part, const std::optional<InputSegment>& segment) {
  if (!segment) return part.begin == 0 && part.end == part.total;
  // Seconds of a few digits may come out a hair below the whole sample that they mean.
  constexpr double kHair = 1e-3;
  for (const double more : {0.0, kHair / part.sample_rate_hz}) {
    const auto asked = part_of_audio(
        static_cast<double>(part.total), part.sample_rate_hz, segment->offset_seconds + more,
        segment->duration_seconds > 0 ? segment->duration_seconds + more : 0);
    if (asked && asked->first == static_cast<double>(part.begin) &&
        asked->end == static_cast<double>(part.end)) {
      return true;
    }
  }
  return false;
}

bool is_part_of_record(const InputIdentity& recorded, const std::optional<InputSegment>& segment) {
  if (recorded.part) return is_part(*recorded.part, segment);
  return !recorded.is_known() || is_same_segment(recorded.segment, segment);
}

// What lies there may be another file by now.
bool is_same_place(const InputIdentity& a, const InputIdentity& b) {
  return (!a.absolute.empty() && a.absolute == b.absolute) ||
         (!a.resolved.empty() && a.resolved == b.resolved);
}

std::int64_t changed_ns_of(const struct stat& status) {
  return std::int64_t{status.st_ctim.tv_sec} * 1'000'000'000 + status.st_ctim.tv_nsec;
}

// Whether a file is what was recorded, as far as its size and times tell. The inode's time cannot
// be set: it tells two files apart that have one size and one time of modification (tar --mtime, cp
// -p), and also changes where the bytes do not (chmod, a link).
bool looks_alike(const InputIdentity& recorded, const InputIdentity& now) {
  return recorded.bytes == now.bytes && recorded.modified_ns == now.modified_ns &&
         (recorded.changed_ns == 0 || recorded.changed_ns == now.changed_ns);
}

// A path without links: of a member that of its container, and what stands behind it.
std::string resolved_place(const std::string& path, const std::string& path_on_disk) {
  std::string resolved = resolved_path(path_on_disk);
  return resolved.empty() ? resolved : resolved + path.substr(path_on_disk.size());
}

// Without resolving its path. `recorded_bytes` are those of a member that nothing tells before it
// is opened. Returns 0, or errno.
int look(const InputPlace& place, std::uint64_t recorded_bytes, InputIdentity& input) {
  input.path = place.path;
  input.absolute = absolute_path(place.path);
  struct stat status {};
  if (::stat(place.path_on_disk().c_str(), &status) != 0) return errno;
  const FileIdentity found = identity_of(status);
  input.bytes = found.bytes;
  if (place.member) {
    input.bytes = place.member->kind == Member::Kind::wav ? recorded_bytes : place.member->bytes;
  }
  input.modified_ns = found.modified_ns;
  input.changed_ns = changed_ns_of(status);
  return 0;
}

}  // namespace

std::string part_text(const FilePart& part) {
  if (part.begin == 0 && part.end == part.total) return "the whole file";
  const auto seconds = [&](std::int64_t samples) {
    return number_text(std::round(static_cast<double>(samples) / part.sample_rate_hz * 1e6) / 1e6);
  };
  return seconds(part.begin) + " s to " + seconds(part.end) + " s";
}

InputIdentity identify_input(const InputFile& file, const std::function<void()>& progress) {
  // First: a change while it is read shows next time.
  struct stat status {};
  const std::int64_t changed_ns =
      ::fstat(file.descriptor(), &status) == 0 ? changed_ns_of(status) : 0;
  XXH3_state_t state;
  XXH3_128bits_reset(&state);
  for_each_block(file, 0, file.size(), kInputBlockBytes, [&](std::span<const std::byte> block) {
    XXH3_128bits_update(&state, block.data(), block.size());
    progress();
  });
  file.check_unchanged();
  XXH128_canonical_t digest;
  XXH128_canonicalFromHash(&digest, XXH3_128bits_digest(&state));
  InputIdentity input;
  input.path = file.path();
  input.absolute = absolute_path(input.path);
  input.resolved = resolved_place(input.path, file.path_on_disk());
  input.bytes = file.size();
  input.modified_ns = file.identity().modified_ns;
  input.changed_ns = changed_ns;
  input.digest = hex_text(digest.digest);
  // A record says what lies at a path. Another file there, of the same size and time perhaps, would
  // be taken for this one.
  if (!file.is_in_place()) {
    throw AudioError(input.path, "", "was changed by another process while it was read",
                     "a file that stays as it is");
  }
  return input;
}

Origin OriginCheck::compare(const InputIdentity& recorded, bool is_look_known,
                            const InputPlace& place, const std::optional<InputSegment>& segment,
                            InputIdentity& now) {
  now = {};
  const int error = look(place, recorded.bytes, now);
  if (error != 0 && !means_absent(error)) return Origin::kUnreadable;
  now.resolved = resolved_place(place.path, place.path_on_disk());
  now.segment = segment;
  now.part = recorded.part;
  const bool same_place = recorded.is_known() && is_same_place(recorded, now);
  const bool same_part = is_part_of_record(recorded, segment);
  if (error != 0) {
    if (recorded.is_known() && !same_place) return Origin::kOther;
    return same_part ? Origin::kGone : Origin::kOtherPart;
  }
  const bool same_look = is_look_known && looks_alike(recorded, now);
  // A link may lead to another file of that size and time.
  if (same_look && recorded.is_known() && recorded.resolved == now.resolved) {
    return same_part ? Origin::kSame : Origin::kOtherPart;
  }
  const Origin different = same_place ? Origin::kReplaced : Origin::kOther;
  const bool has_other_size = is_look_known && recorded.bytes != now.bytes;
  if (last_.path == place.path && looks_alike(last_, now)) {
    now.digest = last_.digest;
  } else {
    try {
      now = identify_input(opener_.open(place));
      now.segment = segment;
      now.part = recorded.part;
    } catch (const AudioError&) {
      return has_other_size ? different : Origin::kUnreadable;
    }
    last_ = now;
  }
  // Not by its size: a journal in which a digit has changed makes no other file of it.
  if (now.digest != recorded.digest) return different;
  return same_part ? Origin::kEqual : Origin::kOtherPart;
}

}  // namespace w2vbert::tool
