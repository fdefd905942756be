#include "tool/store/input_identity.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <string_view>
#include <vector>

#include "core/file.h"
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

// Whether the text alone says it: it does not for what depends on the working directory.
bool is_same_text(const std::string& recorded, const std::string& path) {
  return path.starts_with('/') && recorded == path;
}

// Without resolving its path. Returns 0, or errno.
int look(const std::string& path, InputIdentity& input) {
  struct stat status {};
  if (::stat(path.c_str(), &status) != 0) return errno;
  const FileIdentity found = identity_of(status);
  input.path = path;
  input.bytes = found.bytes;
  input.modified_ns = found.modified_ns;
  return 0;
}

}  // namespace

InputIdentity identify_input(const InputFile& file, const std::function<void()>& progress) {
  XXH3_state_t state;
  XXH3_128bits_reset(&state);
  std::vector<std::byte> block(static_cast<std::size_t>(std::min(kInputBlockBytes, file.size())));
  for (std::uint64_t at = 0; at < file.size();) {
    const auto count =
        static_cast<std::size_t>(std::min<std::uint64_t>(block.size(), file.size() - at));
    file.read_at(at, block.data(), count);
    XXH3_128bits_update(&state, block.data(), count);
    at += count;
    progress();
  }
  file.check_unchanged();
  XXH128_canonical_t digest;
  XXH128_canonicalFromHash(&digest, XXH3_128bits_digest(&state));
  InputIdentity input;
  input.path = file.path();
  input.resolved = resolved_path(input.path);
  input.bytes = file.size();
  input.modified_ns = file.identity().modified_ns;
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
                            const std::string& path, const std::optional<InputSegment>& segment,
                            InputIdentity& now) {
  now = {};
  const int error = look(path, now);
  if (error != 0 && !means_absent(error)) return Origin::kUnreadable;
  now.segment = segment;
  if (recorded.is_known() && !is_same_segment(recorded.segment, segment)) return Origin::kOther;
  const bool same_text = is_same_text(recorded.path, path);
  const bool same_look =
      is_look_known && recorded.bytes == now.bytes && recorded.modified_ns == now.modified_ns;
  if (error == 0 && same_text && same_look) return Origin::kSame;
  now.resolved = resolved_path(path);
  if (error != 0) {
    const bool same = recorded.path.empty() || recorded.path == path ||
                      (!now.resolved.empty() && recorded.resolved == now.resolved);
    return same ? Origin::kGone : Origin::kOther;
  }
  const bool same_place = recorded.is_known() && (same_text || recorded.resolved == now.resolved);
  if (same_place && same_look) return Origin::kSame;
  const Origin different = same_place ? Origin::kReplaced : Origin::kOther;
  if (is_look_known && recorded.bytes != now.bytes) return different;
  if (last_.path == path && last_.bytes == now.bytes && last_.modified_ns == now.modified_ns) {
    now.digest = last_.digest;
  } else {
    try {
      now = identify_input(InputFile::open<AudioError>(path));
      now.segment = segment;
    } catch (const AudioError&) {
      return Origin::kUnreadable;
    }
    last_ = now;
  }
  return now.digest == recorded.digest ? Origin::kEqual : different;
}

}  // namespace w2vbert::tool
