#include "tool/cli/timed_output.h"

#include <memory>
#include <string>
#include <vector>

#include "tool/cli/console.h"
#include "tool/cli/document_files.h"
#include "w2vbert/core/error.h"

namespace w2vbert::tool {
namespace {

constexpr const char* kFormat = "--format";
constexpr std::size_t kMaxCueCharacters = 10'000;

OneOf<TimedFormat> word_formats() {
  return OneOf<TimedFormat>({{"text", TimedFormat::text},
                             {"json", TimedFormat::json},
                             {"srt", TimedFormat::srt},
                             {"vtt", TimedFormat::vtt},
                             {"ctm", TimedFormat::ctm},
                             {"textgrid", TimedFormat::textgrid}});
}

OneOf<TimedFormat> segment_formats() {
  return OneOf<TimedFormat>({{"text", TimedFormat::text},
                             {"json", TimedFormat::json},
                             {"rttm", TimedFormat::rttm},
                             {"textgrid", TimedFormat::textgrid},
                             {"audacity", TimedFormat::audacity}});
}

std::string name_of(TimedFormat format) {
  return format == TimedFormat::rttm || format == TimedFormat::audacity
             ? segment_formats().text(format)
             : word_formats().text(format);
}

// Whether a line says which clip it is of.
bool names_clips(TimedFormat format) {
  return format == TimedFormat::ctm || format == TimedFormat::rttm;
}

const char* ending_of(TimedFormat format) {
  switch (format) {
    case TimedFormat::srt:
      return ".srt";
    case TimedFormat::vtt:
      return ".vtt";
    case TimedFormat::ctm:
      return ".ctm";
    case TimedFormat::rttm:
      return ".rttm";
    case TimedFormat::audacity:
      return ".txt";
    default:
      return ".TextGrid";
  }
}

// --output is a folder of documents, or a file of JSON lines: not one document.
void check_ending(const std::string& output, TimedFormat format) {
  for (const TimedFormat other : {TimedFormat::srt, TimedFormat::vtt, TimedFormat::ctm,
                                  TimedFormat::rttm, TimedFormat::textgrid}) {
    if (!output.ends_with(ending_of(other))) continue;
    throw UsageError("", "--output", "is " + quote_bytes(output) + ", a document's name",
                     format == other
                         ? "a folder for documents; one goes to the standard output (> FILE)"
                         : "--format " + name_of(other) + " > FILE, or another name");
  }
}

}  // namespace

void TimedOutput::add_to_words(CLI::App& command) {
  add_value(
      command, kFormat, format_, word_formats(),
      "text: a line for each file; json: as --json; srt, vtt: subtitles; ctm: a line for each "
      "word; textgrid: for Praat. Subtitles and TextGrids of several files, or any of the last "
      "four, go to files of their own in the folder of --output (default: text)");
  add_value(
      command, "--cue-characters", cue_characters_,
      WholeNumber<std::size_t>{1, kMaxCueCharacters, "N"},
      "Put words into a subtitle up to so many characters, 7 seconds, or a pause of a second; "
      "1: a word each (default: 42)");
}

void TimedOutput::add_to_segments(CLI::App& command) {
  add_value(command, kFormat, format_, segment_formats(),
            "text: a line for each file; json: as --json; rttm: a line for each segment, as "
            "diarization has them; textgrid: for Praat; audacity: a label track. TextGrids and "
            "label tracks of several files, or any of the last three, go to files of their own in "
            "the folder of --output (default: text)");
}

CueLimits TimedOutput::cue_limits() const {
  CueLimits limits;
  if (cue_characters_) limits.max_characters = *cue_characters_;
  return limits;
}

std::string TimedOutput::document(const std::string& name, const AnsweredClip& clip,
                                  const Answer& answer) const {
  switch (*format_) {
    case TimedFormat::srt:
      return srt_text(cues_of(answer.timed, cue_limits()));
    case TimedFormat::vtt:
      return vtt_text(cues_of(answer.timed, cue_limits()));
    case TimedFormat::ctm:
      return ctm_text(name, clip.channel.value_or(1), answer.timed);
    case TimedFormat::rttm:
      return rttm_text(name, clip.channel.value_or(1), answer.timed);
    case TimedFormat::audacity:
      return audacity_text(answer.timed);
    default: {
      std::vector<LabelTier> tiers;
      for (const TimedTier& tier : answer.tiers) tiers.push_back({tier.name, tier.labels});
      return textgrid_text(tiers, clip.audio_seconds);
    }
  }
}

void TimedOutput::apply(AnswerOptions& options, AnswerCommand& command) const {
  const TimedFormat format =
      format_.value_or(options.output.json ? TimedFormat::json : TimedFormat::text);
  const bool is_subtitles = format == TimedFormat::srt || format == TimedFormat::vtt;
  if (options.output.json && format != TimedFormat::json) {
    throw UsageError("", "--json", "is given beside --format " + name_of(format), "one of the two");
  }
  if (cue_characters_ && !is_subtitles) {
    throw UsageError("", "--cue-characters", "is given without subtitles",
                     "--format srt or --format vtt");
  }
  if (format_ == TimedFormat::text && !options.clips.output.empty()) {
    throw UsageError("", "--output", "is given beside --format text",
                     "--format json, whose lines go there");
  }
  options.output.json = format == TimedFormat::json;
  check_ending(options.clips.output, format);
  const bool is_lines = format == TimedFormat::text || format == TimedFormat::json;
  const std::string folder = options.clips.output;
  command.names_outputs = !is_lines && (!folder.empty() || names_clips(format));
  if (options.clips.naming && !command.names_outputs) {
    throw UsageError("", "--name", "is given where nothing has a name",
                     "documents in a folder (--output), or lines with names (rttm, ctm)");
  }
  if (is_lines) return;
  const bool is_one = options.clips.paths.size() == 1 && options.clips.manifest.empty() &&
                      options.clips.channels.channel != kEachChannel;
  if (folder.empty() && !names_clips(format) && !is_one) {
    throw UsageError("", kFormat,
                     "is " + name_of(format) + ", a document for each file, and there are several",
                     "--output DIR, or one audio file");
  }
  if (!folder.empty()) {
    command.keep = [*this, format, folder, is_subtitles](const KeepRequest& request) {
      Fingerprint run = request.run;
      run.fields.emplace_back("format", name_of(format));
      if (is_subtitles) {
        run.fields.emplace_back("cue_characters", std::to_string(cue_limits().max_characters));
      }
      return std::make_unique<DocumentFiles>(
          folder, ending_of(format), request, run,
          [*this](const std::string& name, const AnsweredClip& clip, const Answer& answer) {
            return document(name, clip, answer);
          });
    };
    return;
  }
  const auto names = std::make_shared<const InputList*>();
  command.begin = [names](const InputList& inputs, const Partition&) { *names = &inputs; };
  command.print = [*this, names](const AnsweredClip& clip, const Answer& answer) {
    print_result(document((*names)->name(clip.index), clip, answer));
  };
}

}  // namespace w2vbert::tool
