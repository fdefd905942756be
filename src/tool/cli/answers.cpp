#include "tool/cli/answers.h"

#include <fmt/format.h>

#include <cstddef>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>
#include <utility>

#include "core/text.h"
#include "tool/cli/clip_report.h"
#include "tool/cli/console.h"
#include "tool/cli/exit_status.h"
#include "tool/cli/format.h"
#include "tool/cli/signals.h"
#include "tool/store/writable.h"
#include "tool/tasks/model_files.h"
#include "w2vbert/core/error.h"

namespace w2vbert::tool {
namespace {

std::string text_line(const AnsweredClip& clip, const std::string& text) {
  const std::string channel = clip.channel ? "-ch" + std::to_string(*clip.channel) : "";
  return on_one_line(clip.path) + channel + "\t" + text + "\n";
}

ProtectedFiles sources_of(const AnswerOptions& options, const std::string& output,
                          const InputList& inputs) {
  ProtectedFiles sources;
  if (options.clips.manifest != "-") sources.add(options.clips.manifest, "the manifest");
  const OutputPlace place(output);
  for (std::size_t i = 0; i < inputs.size(); ++i) {
    if (const std::string path = inputs.place(i).path_on_disk(); place.is(path)) {
      sources.add(path, "an input");
    }
  }
  add_model_files(sources, options.model.model, options.model.revision, options.model.lora);
  return sources;
}

FingerprintFields fields_of(const AnswerCommand& command) {
  FingerprintFields fields = command.fields();
  if (command.windows.on()) {
    fields.emplace_back("window_samples", std::to_string(command.windows.samples));
    fields.emplace_back("stride_samples", std::to_string(command.windows.left));
  }
  return fields;
}

std::string answered_before(const std::string& output, std::size_t clips) {
  return quote_bytes(output) + ": " + count(clips, "clip") + (clips == 1 ? " was" : " were") +
         " answered by an earlier call";
}

// `is_file`: of lines, which is written at the end.
std::string end_line(const AnswerSummary& summary, const std::string& output, bool is_file) {
  std::string line =
      summary_line(summary.done, summary.failed, summary.audio_seconds, summary.elapsed_seconds);
  if (!summary.stopped) return line;
  line += "; stopped by a signal";
  if (output.empty()) return line;
  if (is_file) line += ", " + quote_bytes(output) + " is not written";
  return line + ": the same command again does the rest";
}

}  // namespace

std::string on_one_line(const std::string& text) { return quote_bytes(text, 4 * text.size()); }

void AnswerOptions::add_inputs_to(CLI::App& command) {
  clips.add_inputs_to(command);
  add_value(
      command, "--output", clips.output, OutputPath{"FILE"},
      "Write the lines of --json there once all is done, instead of printing; lines of an "
      "earlier call of the same run are replaced, but for those of inputs that fail now; another "
      "run's file, any other, and one that was changed since are left as they are. Beside it are "
      "FILE.run.json, FILE.journal.jsonl, with which the same command goes on, and "
      "FILE.failures.jsonl. A share of the inputs goes to FILE with its number before the ending");
  clips.add_audio_to(command);
  clips.add_partition_to(command);
  clips.add_readers_to(command);
}

void AnswerOptions::add_model_to(CLI::App& command, const std::string& json) {
  model.add_to(command, /*several=*/true);
  command.add_flag("--json", output.json, "Print a line of JSON for each file: " + json);
  add_quiet(command, output.quiet);
}

void WindowOptions::add_to(CLI::App& command, const std::string& by_default) {
  add_value(command, "--chunk-seconds", given_chunk_, PositiveNumber{kMaxSeconds},
            "Cut longer audio into chunks of S seconds, each with features of its own, as "
            "transformers' pipelines cut it: memory and time then grow with the length alone "
            "(default: " +
                by_default + ")");
  add_value(command, "--stride-seconds", given_stride_, NumberFromZero{kMaxSeconds},
            "What is heard at either end of a chunk and not kept (default: a sixth of a chunk)");
}

double WindowOptions::chunk() const { return given_chunk_.value_or(0); }

double WindowOptions::stride() const {
  if (given_stride_ && !given_chunk_) {
    throw UsageError("", "--stride-seconds", "is given without --chunk-seconds", "both");
  }
  return given_stride_.value_or(chunk() / 6);  // HF: chunk_length_s / 6
}

int answer_clips(const AnswerOptions& options, const HeadModel& model,
                 const AnswerCommand& command) {
  ClipOptions clips = options.clips;
  clips.keep_texts = command.wants_texts;
  const InputList inputs = command.names_outputs ? clips.inputs() : clips.unnamed_inputs();
  const PartitionChoice choice = options.clips.partition();
  if (command.begin) command.begin(inputs, choice.partition);
  AnswerRunRequest request;
  request.audio = options.clips.audio(model.features().sampling_rate);
  // Each process writes a file of its own.
  const bool is_file = !command.keep;
  const std::string output =
      is_file ? choice.partition.labelled(options.clips.output) : options.clips.output;
  std::unique_ptr<KeptAnswers> kept;
  if (!output.empty()) {
    const Fingerprint run = model.fingerprint(command.name, fields_of(command), request.audio);
    const ProtectedFiles sources = sources_of(options, output, inputs);
    kept = is_file ? std::make_unique<AnswerFile>(output, sources, inputs, run, command.asked)
                   : command.keep({inputs, run, choice.partition, sources, command.asked});
  }
  request.partition = choice.partition;
  request.features = model.features();
  request.windows = command.windows;
  request.batch_frames = model.batch_frames();
  request.functions = model.functions();
  request.reading_threads = options.clips.reading_threads_beside_model(model.device());
  request.read_timeout_seconds = options.clips.read_timeout_seconds;
  Messages messages(options.output.quiet);
  for (const std::string& warning : command.warnings) messages.say(warning);
  say_notes(inputs, choice, messages);

  std::size_t answered = 0;  // by an earlier call
  std::size_t done = 0;
  std::size_t failed = 0;
  std::size_t to_do = 0;
  const auto show_progress = [&] {
    messages.progress(done + failed, to_do,
                      failed > 0 ? fmt::format("clips, {} failed", failed) : "clips");
  };
  if (kept) {  // a signal ends it at once: earlier inputs may have to be read to know them again
    answered = kept->take_answered(choice.partition);
    if (answered > 0) messages.say(answered_before(output, answered));
  }
  catch_stop_signals();
  const LockWaitEvents lock_waits = told_lock_waits(messages);
  AnswerEvents events;
  events.stop_requested = is_stopping;
  AudioNotes notes(request.audio, messages);
  events.planned = [&](std::size_t own) {
    to_do = own;
    say_share(inputs, choice, own + answered, messages);
  };
  events.failed = [&](const ClipFailure& failure, std::optional<std::size_t> index) {
    ++failed;
    if (kept) kept->add(failure, index);
    messages.error(failure.message);
    show_progress();
  };
  std::set<std::string> told;
  const auto answering = [&](const AnsweredClip& clip, const WindowTensors& tensors) {
    return [&, clip, answer = command.answer(clip, tensors)] {
      ++done;
      if (!clip.note.empty()) notes.note(clip.path, clip.note);
      notes.count_channels(clip.source_channels);
      for (const std::string& note : answer.notes) {
        if (told.insert(note).second) messages.say(quote_bytes(clip.path) + ": " + note);
      }
      if (kept) {
        kept->add(clip, answer);
      } else if (command.print) {
        messages.clear();
        command.print(clip, answer);
      } else {
        messages.clear();
        print_result(options.output.json ? json_line_of(clip, answer.json)
                                         : text_line(clip, answer.text));
      }
      show_progress();
    };
  };
  const auto load = [&] {
    LoadReport report;
    std::vector<AnswerFunction> functions = command.load(&report, is_stopping);
    say_warnings(report, messages);
    say_engine(model.engine(), messages);
    return functions;
  };
  if (kept) {
    request.is_answered = [&](std::size_t index) { return kept->is_answered(index); };
    kept->begin();
  }
  AnswerSummary summary;
  try {
    summary = answer_clips(inputs, request, load, answering, events);
  } catch (const ReaderGone&) {  // what failed until then has failed all the same
    return failed > 0 ? kSomeInputsFailed : kDone;
  }
  notes.say_channels();
  if (kept && !summary.stopped) {
    if (const std::size_t lines = kept->finish(); lines > 0) {
      messages.say(quote_bytes(output) + ": keeps " + count(lines, "line") +
                   " of an earlier call, of clips that failed now");
    }
  }
  messages.say(end_line(summary, kept ? output : "", is_file));
  const int status = summary.stopped      ? kSignalBase + stop_signal()
                     : summary.failed > 0 ? kSomeInputsFailed
                                          : kDone;
  if (summary.hanging_readers > 0) end_without_waiting(status);
  return status;
}

}  // namespace w2vbert::tool
