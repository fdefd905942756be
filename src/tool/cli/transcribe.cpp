// w2vbert transcribe: audio files -> text.
#include <fmt/format.h>

#include <algorithm>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>

#include "core/durable_file.h"
#include "core/file.h"
#include "core/json.h"
#include "core/text.h"
#include "tool/cli/clip_report.h"
#include "tool/cli/commands.h"
#include "tool/cli/console.h"
#include "tool/cli/exit_status.h"
#include "tool/cli/format.h"
#include "tool/cli/options.h"
#include "tool/cli/signals.h"
#include "tool/store/json_text.h"
#include "tool/store/writable.h"
#include "tool/tasks/model_files.h"
#include "tool/tasks/transcription.h"
#include "w2vbert/core/error.h"

namespace w2vbert::tool {
namespace {

using Json = nlohmann::ordered_json;

struct TranscribeOptions {
  ClipOptions clips;
  ModelOptions model;
  OutputOptions output;
};

std::string line_of(const ClipText& clip) {
  Json words = Json::array();
  for (const TimedWord& word : clip.words) {
    words.push_back({{"word", word.word}, {"start", word.start}, {"end", word.end}});
  }
  Json line = {{"path", clip.path},
               {"text", clip.text},
               {"seconds", clip.audio_seconds},
               {"words", std::move(words)}};
  if (clip.segment) line["offset"] = clip.segment->offset_seconds;
  if (clip.channel) line["channel"] = *clip.channel;
  return json_line(line);
}

// All of `text`, on one line and without a tab.
std::string on_one_line(const std::string& text) { return quote_bytes(text, 4 * text.size()); }

std::string text_line(const ClipText& clip) {
  const std::string channel = clip.channel ? "-ch" + std::to_string(*clip.channel) : "";
  return on_one_line(clip.path) + channel + "\t" + on_one_line(clip.text) + "\n";
}

// Whether a file holds the lines of an earlier --output.
bool is_transcript(const std::string& path) {
  constexpr std::uint64_t kHeadBytes = 1 << 20;
  const auto file = InputFile::open<StorageError>(path);
  std::string line(static_cast<std::size_t>(std::min(file.size(), kHeadBytes)), '\0');
  file.read_at(0, line.data(), line.size());
  const std::size_t end = line.find('\n');
  // The first line of hours of speech: its words go on behind what was read.
  if (end == std::string::npos) {
    return file.size() > kHeadBytes && line.starts_with("{\"path\":\"") &&
           line.find("\",\"text\":\"") != std::string::npos;
  }
  try {
    const JsonValue value = JsonValue::parse(std::string_view(line).substr(0, end));
    return value.find("path") && value.find("text") && value.find("seconds") && value.find("words");
  } catch (const JsonError&) {
    return false;
  }
}

OutputFile output_file(const TranscribeOptions& options, const std::string& output,
                       const InputList& inputs) {
  ProtectedFiles sources;
  if (options.clips.manifest != "-") sources.add(options.clips.manifest, "the manifest");
  for (std::size_t i = 0; i < inputs.size(); ++i) {
    if (is_same_file(inputs.path(i), output)) sources.add(inputs.path(i), "an input");
  }
  add_model_files(sources, options.model.model, options.model.revision, options.model.lora);
  return OutputFile(output, "output", sources, is_transcript);
}

std::string summary_line(const TranscriptionSummary& summary, const std::string& output) {
  std::string line =
      fmt::format("{} done, {} failed, {:.1f} s of audio in {:.1f} s", count(summary.done, "clip"),
                  summary.failed, summary.audio_seconds, summary.elapsed_seconds);
  if (summary.done > 0) line += " (" + speed(summary.audio_seconds, summary.elapsed_seconds) + ")";
  if (summary.stopped) line += "; stopped by a signal";
  if (summary.stopped && !output.empty()) line += ", " + quote_bytes(output) + " is not written";
  return line;
}

int run(const TranscribeOptions& options) {
  options.clips.check_inputs();
  apply_threads(options.model.threads);
  const InputList inputs = options.clips.unnamed_inputs();
  const PartitionChoice choice = options.clips.partition();
  // Each process writes a file of its own.
  const std::string output = choice.partition.labelled(options.clips.output);
  const Transcription transcription(options.model.request());
  std::optional<OutputFile> file;
  if (!output.empty()) file.emplace(output_file(options, output, inputs));
  const AudioOptions audio = options.clips.audio(transcription.features().sampling_rate);
  Messages messages(options.output.quiet);
  for (const std::string& warning : transcription.warnings()) messages.say(warning);
  say_notes(inputs, choice, messages);

  std::string lines;  // for --output
  std::size_t done = 0;
  std::size_t failed = 0;
  std::size_t to_do = 0;
  const auto show_progress = [&] {
    messages.progress(done + failed, to_do,
                      failed > 0 ? fmt::format("clips, {} failed", failed) : "clips");
  };
  catch_stop_signals();
  TranscriptionEvents events;
  events.stop_requested = is_stopping;
  AudioNotes notes(audio, messages);
  events.planned = [&](std::size_t own) {
    to_do = own;
    say_share(inputs, choice, own, messages);
  };
  events.finished = [&](const ClipText& clip) {
    ++done;
    if (!clip.note.empty()) notes.note(clip.path, clip.note);
    notes.count_channels(clip.source_channels);
    if (!output.empty()) {
      lines += line_of(clip);
    } else {
      messages.clear();
      print_result(options.output.json ? line_of(clip) : text_line(clip));
    }
    show_progress();
  };
  events.failed = [&](const ClipFailure& failure) {
    ++failed;
    messages.error(failure.message);
    show_progress();
  };
  const auto load = [&] {
    LoadReport report;
    Transcription::Function function = transcription.load(&report, is_stopping);
    say_warnings(report, messages);
    say_engine(transcription.engine(), messages);
    return function;
  };
  TranscriptionSummary summary;
  try {
    summary = transcribe(inputs, choice.partition, audio, transcription, load, events);
  } catch (const ReaderGone&) {  // what failed until then has failed all the same
    return failed > 0 ? kSomeInputsFailed : kDone;
  }
  if (file && !summary.stopped) write_durably(output, lines, file->look());
  notes.say_channels();
  messages.say(summary_line(summary, output));
  const int status = summary.stopped      ? kSignalBase + stop_signal()
                     : summary.failed > 0 ? kSomeInputsFailed
                                          : kDone;
  if (summary.hanging_readers > 0) end_without_waiting(status);
  return status;
}

}  // namespace

Run add_transcribe(CLI::App& program) {
  CLI::App& command = *program.add_subcommand(
      "transcribe", "Write what is said in each file, with a Wav2Vec2BertForCTC and its tokenizer");
  const auto options = std::make_shared<TranscribeOptions>();
  options->clips.add_inputs_to(command);
  add_value(
      command, "--output", options->clips.output, "FILE",
      "Write the lines of --json there once all is done, instead of printing; lines of an "
      "earlier call are replaced, any other file is left as it is; a share of the inputs goes "
      "to FILE with its number before the ending");
  options->clips.add_audio_to(command);
  options->clips.add_partition_to(command);
  options->model.add_to(command);
  command.add_flag("--json", options->output.json,
                   "Print a line of JSON for each file: path, text, seconds, and words with their "
                   "start and end in seconds");
  add_quiet(command, options->output.quiet);
  command.footer(
      "Example:\n  w2vbert transcribe a.wav b.flac --model my-ctc-model\n"
      "prints each path, a tab and the text: that of greedy CTC decoding with the tokenizer in the "
      "model's\ndirectory (vocab.json, tokenizer_config.json), as HuggingFace's processor decodes. "
      "Exit status 3: some\nfiles failed.");
  return [options] { return run(*options); };
}

}  // namespace w2vbert::tool
