// w2vbert transcribe: audio files -> text.
#include <fmt/format.h>

#include <memory>
#include <optional>
#include <string>

#include "core/text.h"
#include "tool/cli/clip_report.h"
#include "tool/cli/commands.h"
#include "tool/cli/console.h"
#include "tool/cli/exit_status.h"
#include "tool/cli/format.h"
#include "tool/cli/options.h"
#include "tool/cli/signals.h"
#include "tool/cli/transcript.h"
#include "tool/store/writable.h"
#include "tool/tasks/model_files.h"
#include "tool/tasks/transcription.h"
#include "w2vbert/core/error.h"

namespace w2vbert::tool {
namespace {

struct TranscribeOptions {
  ClipOptions clips;
  ModelOptions model;
  OutputOptions output;
};

// All of `text`, on one line and without a tab.
std::string on_one_line(const std::string& text) { return quote_bytes(text, 4 * text.size()); }

std::string text_line(const ClipText& clip) {
  const std::string channel = clip.channel ? "-ch" + std::to_string(*clip.channel) : "";
  return on_one_line(clip.path) + channel + "\t" + on_one_line(clip.text) + "\n";
}

ProtectedFiles sources_of(const TranscribeOptions& options, const std::string& output,
                          const InputList& inputs) {
  ProtectedFiles sources;
  if (options.clips.manifest != "-") sources.add(options.clips.manifest, "the manifest");
  const OutputPlace place(output);
  for (std::size_t i = 0; i < inputs.size(); ++i) {
    if (const std::string path = inputs.path(i); place.is(path)) sources.add(path, "an input");
  }
  add_model_files(sources, options.model.model, options.model.revision, options.model.lora);
  return sources;
}

std::string end_line(const TranscriptionSummary& summary, const std::string& output) {
  std::string line =
      summary_line(summary.done, summary.failed, summary.audio_seconds, summary.elapsed_seconds);
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
  std::optional<TranscriptFile> file;
  if (!output.empty()) file.emplace(output, sources_of(options, output, inputs), inputs);
  TranscriptionRequest request;
  request.partition = choice.partition;
  request.audio = options.clips.audio(transcription.features().sampling_rate);
  request.reading_threads = options.clips.reading_threads_beside_model(transcription.device());
  request.read_timeout_seconds = options.clips.read_timeout_seconds;
  Messages messages(options.output.quiet);
  for (const std::string& warning : transcription.warnings()) messages.say(warning);
  say_notes(inputs, choice, messages);

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
  AudioNotes notes(request.audio, messages);
  events.planned = [&](std::size_t own) {
    to_do = own;
    say_share(inputs, choice, own, messages);
  };
  events.finished = [&](const ClipText& clip) {
    ++done;
    if (!clip.note.empty()) notes.note(clip.path, clip.note);
    notes.count_channels(clip.source_channels);
    if (file) {
      file->add(clip);
    } else {
      messages.clear();
      print_result(options.output.json ? json_line_of(clip) : text_line(clip));
    }
    show_progress();
  };
  events.failed = [&](const ClipFailure& failure, std::optional<std::size_t> index) {
    ++failed;
    if (file && index) file->add_failed(*index);
    messages.error(failure.message);
    show_progress();
  };
  const auto load = [&] {
    LoadReport report;
    std::vector<Transcription::Function> functions = transcription.load(&report, is_stopping);
    say_warnings(report, messages);
    say_engine(transcription.engine(), messages);
    return functions;
  };
  TranscriptionSummary summary;
  try {
    summary = transcribe(inputs, request, transcription, load, events);
  } catch (const ReaderGone&) {  // what failed until then has failed all the same
    return failed > 0 ? kSomeInputsFailed : kDone;
  }
  notes.say_channels();
  if (file && !summary.stopped) {
    if (const std::size_t kept = file->write(); kept > 0) {
      messages.say(quote_bytes(output) + ": keeps " + count(kept, "line") +
                   " of an earlier call, of clips that failed now");
    }
  }
  messages.say(end_line(summary, output));
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
      "earlier call are replaced, but for those of inputs that fail now; any other file is left as "
      "it is; a share of the inputs goes to FILE with its number before the ending");
  options->clips.add_audio_to(command);
  options->clips.add_partition_to(command);
  options->clips.add_readers_to(command);
  options->model.add_to(command, /*several=*/true);
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
