// Words and segments with their times, as subtitles and labels that other programs read.
// Torch-free.
//
// The room `formats` knows the rules of each format: what a text must not hold, what is written
// for it instead, how times are rounded. It reads and writes no files.
#pragma once

#include <cstddef>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace w2vbert::tool {

// A word, a character or a segment, in seconds from its clip's start; `start` to `end`.
struct TimedText {
  std::string text;
  double start = 0;
  double end = 0;
  std::optional<double> score = std::nullopt;  // NaN and infinities are written as none
};

// How words make subtitles.
struct CueLimits {
  // Words and the spaces between them; a word may be longer. A line of a subtitle has some
  // 42; with 1 each word is a cue.
  std::size_t max_characters = 42;
  double max_seconds = 7;
  double max_gap_seconds = 1;  // between two words of a cue
};
// The words of each cue, with a space between two of them, without their scores. Words of blanks
// alone are left out.
std::vector<TimedText> cues_of(std::span<const TimedText> words, const CueLimits& limits);

// SubRip. Times in milliseconds; a cue lasts one at least. Line breaks and controls become spaces,
// "-->" becomes "->": the format has no escapes.
std::string srt_text(std::span<const TimedText> cues);

// WebVTT (W3C). As SubRip, but "&", "<" and ">" are written as "&amp;", "&lt;" and "&gt;".
std::string vtt_text(std::span<const TimedText> cues);

// NIST's CTM: a line for each word, "NAME CHANNEL START DURATION WORD [SCORE]", in milliseconds.
// Spaces within a name or a word and what begins a comment are written as \xNN.
std::string ctm_text(std::string_view name, int channel, std::span<const TimedText> words);

// A tier of intervals that do not overlap.
struct LabelTier {
  std::string name;
  std::span<const TimedText> labels;  // ascending
};
// Praat's TextGrid, long form, UTF-8: intervals from 0 to `seconds`, or to the end of the last
// label; what is between labels is an interval without text. A quote is written twice, line breaks
// and controls become spaces. A label without a duration gets a millisecond, and one that begins
// before the end of the one before it begins there.
std::string textgrid_text(std::span<const LabelTier> tiers, double seconds);

// NIST's RTTM: a line of type SPEAKER for each segment,
// "SPEAKER NAME CHANNEL START DURATION <NA> <NA> LABEL SCORE <NA>". Spaces and double quotes within
// a name or a label are written as \xNN.
std::string rttm_text(std::string_view name, int channel, std::span<const TimedText> segments);

// Audacity's label track: "START<tab>END<tab>LABEL" lines in microseconds. Tabs and line breaks
// become spaces.
std::string audacity_text(std::span<const TimedText> segments);

}  // namespace w2vbert::tool
