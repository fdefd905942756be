// What kind of audio file some bytes are, and whether all that its headers announce is there.
// libsndfile would open many more kinds, and shortens a file that was cut without a word.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "core/file.h"

namespace w2vbert {

// A writer that streams does not know its length yet and leaves a number of this size or more.
inline constexpr std::uint64_t kPlaceholderBytes = 0x7ffff000;
inline constexpr std::uint64_t kPlaceholderBytes64 = std::uint64_t{1} << 62;  // in 64 bits

// How to show a file to the decoder: its bytes from `begin` to `end`.
struct ContainerView {
  std::string name;        // "WAV", "FLAC", ...; of a foreign kind "an MP4 file (...)"
  std::string container;   // "WAV", "FLAC", "MP4", "Matroska", ...
  int sndfile_format = 0;  // libsndfile's SF_FORMAT_ type without the encoding; RAW: all of it
  // Audio of a kind that libsndfile does not read, or in an encoding that it does not.
  bool is_foreign = false;
  // For a foreign kind: whether the length that its header says is more than a hint.
  bool trusts_duration = true;
  std::uint64_t begin = 0;
  std::uint64_t end = 0;

  // What is missing or broken, as the words of an error; "" for a whole file. `end` is then where
  // the sound part ends.
  std::string damage;
  // How much audio its header announces for what is there; 0 where it does not say.
  double claimed_ratio = 0;
  // What is odd about it and loses nothing.
  std::string note;

  // Ogg: the channels stand in the order of Vorbis (L C R ...) and not in that of WAV (L R C LFE
  // ...).
  bool has_vorbis_order = false;
  bool has_gaps = false;  // Ogg: in the numbers of its pages, and maybe in the audio

  // SF_FORMAT_RAW: what the bytes do not say.
  int raw_sample_rate_hz = 0;
  int raw_channels = 0;

  // Bytes to show in the place of the file's, ascending, by their place behind `begin`.
  std::vector<std::pair<std::uint64_t, std::string>> patches;

  // The true number of frames, where the header does not tell libsndfile.
  std::optional<std::int64_t> frames;
  // MP3 without a Xing tag. libsndfile guesses its length from the first bitrate and never returns
  // more. Where the guess is below `frames`, the decoder is shown `length_prefix` first: a tag with
  // the true length and a silent frame, which come out as `prefix_frames` zeros.
  std::string length_prefix;
  std::int64_t prefix_frames = 0;
};

// Looks at the headers of `file` with a few small reads; Ogg and MPEG files, and those whose writer
// streamed, are read once from start to end, because only their pages and frames tell how much
// there is. `progress` is called
// after each read. Throws AudioError for a file that is of none of the known kinds, or that holds
// more than its decoder would return.
ContainerView examine_container(const InputFile& file, const std::function<void()>& progress);

// What to do about a file that is not of the kinds that are read, which are more with libav.
std::string convert_advice(bool has_libav);

}  // namespace w2vbert
