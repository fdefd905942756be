// What kind of audio file some bytes are, and whether all that its headers announce is there.
// libsndfile would open many more kinds, and shortens a file that was cut without a word.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "core/file.h"

namespace w2vbert {

// A writer that streams does not know its length yet and leaves a number of this size or more.
inline constexpr std::uint64_t kPlaceholderBytes = 0x7ffff000;

// How to show a file to the decoder: its bytes from `begin` to `end`.
struct ContainerView {
  const char* name = "";   // "WAV", "FLAC", ...
  int sndfile_format = 0;  // libsndfile's SF_FORMAT_ type without the encoding
  std::uint64_t begin = 0;
  std::uint64_t end = 0;

  // MP3 without a Xing tag. libsndfile guesses its length from the first bitrate and never returns
  // more. Where the guess is below `frames`, the decoder is shown `length_prefix` first: a tag with
  // the true length and a silent frame, which come out as `prefix_frames` zeros.
  std::optional<std::int64_t> frames;
  std::string length_prefix;
  std::int64_t prefix_frames = 0;
};

// Looks at the headers of `file` with a few small reads; Ogg and MP3 files are read once from start
// to end, because only their pages and frames tell how much there is. Throws AudioError for a file
// that is of none of the known kinds, that ends before its headers say, or that holds more than its
// decoder would return.
ContainerView examine_container(const InputFile& file);

}  // namespace w2vbert
