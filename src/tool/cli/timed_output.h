// --format: what an answer has in time as subtitles or labels, on stdout or in a file for each
// clip.
#pragma once

#include <CLI/App.hpp>
#include <optional>
#include <string>

#include "tool/cli/answers.h"
#include "tool/formats/timed_text.h"

namespace w2vbert::tool {

enum class TimedFormat { text, json, srt, vtt, ctm, textgrid, rttm, audacity };

class TimedOutput {
 public:
  void add_to_words(CLI::App& command);                                // --format, --cue-characters
  void add_to_segments(CLI::App& command);                             // --format
  bool has_tiers() const { return format_ == TimedFormat::textgrid; }  // Answer::tiers are written
  // Makes `command` print a document for each clip, or write it to a file in the folder of
  // --output; for text and json its lines stay. Throws UsageError for options that do not go
  // together.
  void apply(AnswerOptions& options, AnswerCommand& command) const;

 private:
  CueLimits cue_limits() const;
  std::string document(const std::string& name, const AnsweredClip& clip,
                       const Answer& answer) const;

  std::optional<TimedFormat> format_;
  std::optional<std::size_t> cue_characters_;
};

}  // namespace w2vbert::tool
