#include "tool/formats/timed_text.h"

#include <algorithm>
#include <cinttypes>
#include <cmath>
#include <cstdint>
#include <cstdio>

#include "core/escaped_name.h"
#include "core/text.h"

namespace w2vbert::tool {
namespace {

// The character at the start of `text`: its bytes, and its code point; a byte that is no UTF-8 by
// itself, as the replacement character.
struct FirstCharacter {
  std::string_view bytes;
  std::uint32_t value;
};
FirstCharacter first_character(std::string_view text) {
  const std::size_t length = utf8_character_length(text);
  if (length == 0) return {text.substr(0, 1), 0xFFFD};
  return {text.substr(0, length), code_point(text.substr(0, length))};
}

// What some reader takes for the end of a line.
bool ends_line(std::uint32_t c) { return c == 0x85 || c == 0x2028 || c == 0x2029; }
bool is_control(std::uint32_t c) { return c < 0x20 || (c >= 0x7F && c < 0xA0); }
// What Python's str.split() and readers in C divide words at.
bool divides_words(std::uint32_t c) {
  return c <= 0x20 || is_control(c) || ends_line(c) || c == 0xA0 || c == 0x1680 ||
         (c >= 0x2000 && c <= 0x200A) || c == 0x202F || c == 0x205F || c == 0x3000;
}

bool shows_something(std::string_view text) {
  while (!text.empty()) {
    const auto [bytes, value] = first_character(text);
    if (!divides_words(value)) return true;
    text.remove_prefix(bytes.size());
  }
  return false;
}

std::size_t characters_in(std::string_view text) {
  std::size_t count = 0;
  for (; !text.empty(); ++count) text.remove_prefix(first_character(text).bytes.size());
  return count;
}

// `text` in valid UTF-8 on one line.
std::string on_one_line(std::string_view text) {
  std::string line;
  while (!text.empty()) {
    const auto [bytes, value] = first_character(text);
    if (is_control(value) || ends_line(value)) {
      line += ' ';
    } else {
      append_utf8(line, value);
    }
    text.remove_prefix(bytes.size());
  }
  return line;
}

std::string replace_all(std::string text, std::string_view from, std::string_view to) {
  for (std::size_t at = text.find(from); at != std::string::npos; at = text.find(from, at)) {
    text.replace(at, from.size(), to);
    at += to.size();
  }
  return text;
}

constexpr std::string_view kNothing = "<NA>";  // CTM, RTTM: a field without a value

// One field between spaces: what a reader would divide it at, and what `also` names, as \xNN bytes.
std::string field_of(std::string_view text, std::string_view also) {
  std::string field;
  const std::string escaped = escaped_name(text);
  for (std::string_view rest = escaped; !rest.empty();) {
    const auto [bytes, value] = first_character(rest);
    const bool is_plain =
        !divides_words(value) && !(bytes.size() == 1 && also.find(bytes) != std::string_view::npos);
    for (const char byte : bytes) {
      if (is_plain) {
        field += byte;
      } else {
        const auto number = static_cast<unsigned char>(byte);
        field.append("\\x").append(hex_text({&number, 1}));
      }
    }
    rest.remove_prefix(bytes.size());
  }
  if (field == kNothing) field.replace(0, 1, "\\x3c");
  return field.empty() ? std::string(kNothing) : field;
}

// A comment begins with it at the start of a line, where a name stands.
std::string name_field(std::string_view name, std::string_view also) {
  return field_of(name, name.starts_with(";;") ? std::string(also) + ";" : std::string(also));
}

std::int64_t milliseconds(double seconds) { return std::llround(std::max(seconds, 0.0) * 1000); }

std::int64_t microseconds(double seconds) { return std::llround(std::max(seconds, 0.0) * 1e6); }

template <typename... Values>
std::string formatted(const char* format, Values... values) {
  char text[128];
  const int length = std::snprintf(text, sizeof text, format, values...);
  return std::string(text, static_cast<std::size_t>(length));
}

// Milliseconds as seconds, "1.020": no locale changes the point.
std::string seconds_text(std::int64_t value) {
  return formatted("%" PRId64 ".%03d", value / 1000, static_cast<int>(value % 1000));
}

std::string microseconds_text(std::int64_t value) {
  return formatted("%" PRId64 ".%06d", value / 1000000, static_cast<int>(value % 1000000));
}

struct Milliseconds {
  std::int64_t start;
  std::int64_t end;  // behind it
};
// At least one, for players and readers refuse what has no duration.
Milliseconds interval_of(const TimedText& timed) {
  const std::int64_t start = milliseconds(timed.start);
  return {start, std::max(milliseconds(timed.end), start + 1)};
}

std::string clock_text(std::int64_t value, char point) {
  return formatted("%02" PRId64 ":%02d:%02d%c%03d", value / 3600000,
                   static_cast<int>(value / 60000 % 60), static_cast<int>(value / 1000 % 60), point,
                   static_cast<int>(value % 1000));
}

std::string clock_line(const TimedText& cue, char point) {
  const auto [start, end] = interval_of(cue);
  return clock_text(start, point) + " --> " + clock_text(end, point) + "\n";
}

bool has_score(const TimedText& timed) {
  constexpr double kHighest = 9e12;  // in millionths, which score_text() counts in 64 bits
  return timed.score && std::abs(*timed.score) < kHighest;
}

// Six digits behind the point.
std::string score_text(double score) {
  const std::int64_t value = std::llround(std::abs(score) * 1e6);
  return formatted("%s%" PRId64 ".%06d", score < 0 ? "-" : "", value / 1000000,
                   static_cast<int>(value % 1000000));
}

}  // namespace

std::vector<TimedText> cues_of(std::span<const TimedText> words, const CueLimits& limits) {
  std::vector<TimedText> cues;
  std::size_t characters = 0;  // of the last cue
  for (const TimedText& word : words) {
    if (!shows_something(word.text)) continue;
    const std::size_t more = characters_in(word.text);
    const bool is_new = cues.empty() || characters + 1 + more > limits.max_characters ||
                        word.end - cues.back().start > limits.max_seconds ||
                        word.start - cues.back().end > limits.max_gap_seconds;
    if (is_new) {
      cues.push_back({word.text, word.start, word.end, std::nullopt});
      characters = more;
      continue;
    }
    TimedText& cue = cues.back();
    cue.text.append(" ").append(word.text);
    cue.end = std::max(cue.end, word.end);
    characters += 1 + more;
  }
  return cues;
}

std::string srt_text(std::span<const TimedText> cues) {
  std::string text;
  std::size_t number = 0;
  for (const TimedText& cue : cues) {
    text += std::to_string(++number) + "\n" + clock_line(cue, ',') +
            replace_all(on_one_line(cue.text), "-->", "->") + "\n\n";
  }
  return text;
}

std::string vtt_text(std::span<const TimedText> cues) {
  std::string text = "WEBVTT\n\n";
  for (const TimedText& cue : cues) {
    std::string line = replace_all(on_one_line(cue.text), "&", "&amp;");
    line = replace_all(replace_all(std::move(line), "<", "&lt;"), ">", "&gt;");
    text += clock_line(cue, '.') + line + "\n\n";
  }
  return text;
}

std::string ctm_text(std::string_view name, int channel, std::span<const TimedText> words) {
  const std::string begin = name_field(name, "") + " " + std::to_string(channel) + " ";
  std::string text;
  for (const TimedText& word : words) {
    const auto [start, end] = interval_of(word);
    text += begin + seconds_text(start) + " " + seconds_text(end - start) + " " +
            field_of(word.text, "");
    if (has_score(word)) text += " " + score_text(*word.score);
    text += '\n';
  }
  return text;
}

std::string textgrid_text(std::span<const LabelTier> tiers, double seconds) {
  struct Interval {
    std::int64_t start;  // microseconds
    std::int64_t end;
    std::string text;
  };
  constexpr std::int64_t kShortest = 1000;
  std::int64_t last = std::max(microseconds(seconds), kShortest);
  std::vector<std::vector<Interval>> rows;
  for (const LabelTier& tier : tiers) {
    std::vector<Interval>& intervals = rows.emplace_back();
    std::int64_t place = 0;
    for (const TimedText& label : tier.labels) {
      const std::int64_t start = std::max(microseconds(label.start), place);
      const std::int64_t end = std::max(microseconds(label.end), start + kShortest);
      if (start > place) intervals.push_back({place, start, ""});
      intervals.push_back({start, end, replace_all(on_one_line(label.text), "\"", "\"\"")});
      place = end;
    }
    last = std::max(last, place);
  }
  for (std::vector<Interval>& intervals : rows) {
    const std::int64_t place = intervals.empty() ? 0 : intervals.back().end;
    if (place < last) intervals.push_back({place, last, ""});
  }
  const std::string end = microseconds_text(last);
  std::string text =
      "File type = \"ooTextFile\"\nObject class = \"TextGrid\"\n\nxmin = 0\nxmax = " + end +
      "\ntiers? <exists>\nsize = " + std::to_string(tiers.size()) + "\nitem []:\n";
  for (std::size_t i = 0; i < tiers.size(); ++i) {
    text += "    item [" + std::to_string(i + 1) + "]:\n        class = \"IntervalTier\"\n" +
            "        name = \"" + replace_all(on_one_line(tiers[i].name), "\"", "\"\"") +
            "\"\n        xmin = 0\n        xmax = " + end +
            "\n        intervals: size = " + std::to_string(rows[i].size()) + "\n";
    for (std::size_t k = 0; k < rows[i].size(); ++k) {
      const Interval& interval = rows[i][k];
      text += "        intervals [" + std::to_string(k + 1) +
              "]:\n            xmin = " + microseconds_text(interval.start) +
              "\n            xmax = " + microseconds_text(interval.end) +
              "\n            text = \"" + interval.text + "\"\n";
    }
  }
  return text;
}

std::string rttm_text(std::string_view name, int channel, std::span<const TimedText> segments) {
  const std::string begin = "SPEAKER " + field_of(name, "\"") + " " + std::to_string(channel) + " ";
  std::string text;
  for (const TimedText& segment : segments) {
    const auto [start, end] = interval_of(segment);
    text += begin + seconds_text(start) + " " + seconds_text(end - start) + " <NA> <NA> " +
            field_of(segment.text, "\"") + " " +
            (has_score(segment) ? score_text(*segment.score) : std::string(kNothing)) + " <NA>\n";
  }
  return text;
}

std::string audacity_text(std::span<const TimedText> segments) {
  std::string text;
  for (const TimedText& segment : segments) {
    const std::int64_t start = microseconds(segment.start);
    text += microseconds_text(start) + "\t" +
            microseconds_text(std::max(start, microseconds(segment.end))) + "\t" +
            on_one_line(segment.text) + "\n";
  }
  return text;
}

}  // namespace w2vbert::tool
