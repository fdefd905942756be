#include "tool/cli/clip_report.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "core/escaped_name.h"
#include "core/file_lock.h"
#include "core/stopwatch.h"
#include "core/text.h"
#include "tool/cli/console.h"
#include "tool/cli/exit_status.h"
#include "tool/cli/format.h"
#include "tool/cli/signals.h"
#include "tool/store/json_text.h"

namespace w2vbert::tool {
namespace {

using Json = nlohmann::ordered_json;

Json json_of(const ClipReport& clip) {
  Json told = {{"path", escaped_name(clip.path)},
               {"name", escaped_name(clip.name)},
               {"output", escaped_name(clip.output)},
               {"frames", clip.frames},
               {"source_sample_rate_hz", clip.source_sample_rate_hz},
               {"source_channels", clip.source_channels},
               {"audio_seconds", clip.audio_seconds},
               {"read_seconds", clip.read_seconds},
               {"compute_seconds", clip.compute_seconds},
               {"write_seconds", clip.write_seconds}};
  if (!clip.note.empty()) told["note"] = clip.note;
  return told;
}

Json json_of(const ClipFailure& failure) {
  return {{"path", escaped_name(failure.path)},
          {"stage", failure.stage},
          {"kind", failure.kind},
          {"message", failure.message}};
}

std::string plan_line(const ClipRunPlan& plan) {
  std::string line = count(plan.inputs, "clip");
  if (plan.finished > 0) line += fmt::format(", {} finished before", plan.finished);
  if (plan.damaged > 0) line += fmt::format(", {} damaged, to be done anew", plan.damaged);
  if (plan.replaced > 0) {
    line += fmt::format(", {} of a file that was replaced, to be done anew", plan.replaced);
  }
  if (plan.temporaries > 0)
    line += ", " + count(plan.temporaries, "left-over temporary file") + " removed";
  return line;
}

// What is to be known of the outputs that are taken for finished.
std::vector<std::string> notes_on(const ClipRunPlan& plan) {
  std::vector<std::string> notes;
  if (plan.unrecorded > 0) {
    notes.push_back(count(plan.unrecorded, "finished output") +
                    " without a record of the file it is of (by an earlier version, or the journal "
                    "is lost): taken for finished by the name");
  }
  if (plan.unreadable > 0) {
    notes.push_back(
        count(plan.unreadable, "finished output") +
        " left as it is, whose audio file cannot be read to see whether it is still the "
        "same: " +
        quote_bytes(plan.first_unreadable));
  }
  if (plan.is_unlocked) {
    notes.push_back(
        "this file system has no locks (flock): two processes must not write one shard");
  }
  return notes;
}

std::string end_line(const ClipRunSummary& summary, const std::string& directory) {
  std::string line =
      summary_line(summary.done, summary.failed, summary.audio_seconds, summary.elapsed_seconds);
  if (summary.stopped) line += "; stopped by a signal, the same command again does the rest";
  if (summary.too_many_failures) line += "; ended, as more failed than --max-failures allows";
  return line + "; " + quote_bytes(directory);
}

Json json_of(const ClipRunSummary& summary) {
  return {{"inputs", summary.plan.inputs},
          {"finished_before", summary.plan.finished},
          {"redone", summary.plan.damaged},
          {"replaced", summary.plan.replaced},
          {"done", summary.done},
          {"failed", summary.failed},
          {"stopped", summary.stopped},
          {"too_many_failures", summary.too_many_failures},
          {"audio_seconds", summary.audio_seconds},
          {"elapsed_seconds", summary.elapsed_seconds},
          {"model_seconds", summary.model_seconds}};
}

// How far a run is, in the words of the progress bar.
class RunProgress {
 public:
  void planned(std::size_t clips) { to_do_ = clips; }
  void finished(double audio_seconds) {
    ++done_;
    audio_seconds_ += audio_seconds;
  }
  void failed() { ++failed_; }

  void show(Messages& messages) const {
    std::string remark = "clips";
    const double seconds = watch_.seconds();
    // What matters less is last: it is left out where the terminal is narrow.
    if (failed_ > 0) remark += fmt::format(", {} failed", failed_);
    if (done_ > 0) {
      const std::size_t left = to_do_ - std::min(to_do_, done_ + failed_);
      if (left > 0) {
        remark +=
            ", " +
            duration(seconds * static_cast<double>(left) / static_cast<double>(done_ + failed_)) +
            " left";
      }
      remark +=
          ", " + speed(audio_seconds_, seconds) + ", " + duration(audio_seconds_) + " of audio";
    }
    messages.progress(done_ + failed_, to_do_, remark);
  }

 private:
  Stopwatch watch_;
  std::size_t to_do_ = 0, done_ = 0, failed_ = 0;
  double audio_seconds_ = 0;
};

}  // namespace

AudioNotes::AudioNotes(const AudioOptions& audio, Messages& messages)
    : audio_(audio), messages_(messages) {}

void AudioNotes::note(const std::string& path, const std::string& note) {
  if (noted_.insert(path + '\0' + note).second) messages_.say(quote_bytes(path) + ": " + note);
}

void AudioNotes::count_channels(int channels) {
  if (channels < 2) return;
  fewest_ = clips_ == 0 ? channels : std::min(fewest_, channels);
  most_ = std::max(most_, channels);
  ++clips_;
}

void AudioNotes::say_channels() {
  if (clips_ == 0) return;
  std::string line = count(clips_, "clip") + " of files with " + std::to_string(fewest_);
  if (most_ > fewest_) line += " to " + std::to_string(most_);
  line += " channels: ";
  if (audio_.channels == AudioOptions::Channels::mix) {
    line += "their mean is used";
  } else if (audio_.channels == AudioOptions::Channels::first) {
    line += "the first is used";
  } else if (audio_.channel == kEachChannel) {
    line += "each is a clip of its own";
  } else {
    line += "channel " + std::to_string(audio_.channel) + " is used";
  }
  messages_.say(line + " (--channels)");
}

LockWaitEvents told_lock_waits(Messages& messages) {
  return {[&](const std::string& path) {
            messages.say(quote_bytes(path) + ": is locked by another process, waiting for it");
          },
          is_stopping};
}

std::string summary_line(std::size_t done, std::size_t failed, double audio_seconds,
                         double elapsed_seconds) {
  std::string line = fmt::format("{} done, {} failed, {:.1f} s of audio in {:.1f} s",
                                 count(done, "clip"), failed, audio_seconds, elapsed_seconds);
  if (done > 0) line += " (" + speed(audio_seconds, elapsed_seconds) + ")";
  return line;
}

void say_warnings(const LoadReport& report, Messages& messages) {
  for (const std::string& warning : report.warnings) messages.say(warning);
  if (report.unexpected.empty()) return;
  constexpr std::size_t kShown = 2;
  std::string names = quote_bytes(report.unexpected.front());
  for (std::size_t i = 1; i < std::min(kShown, report.unexpected.size()); ++i) {
    names += ", " + quote_bytes(report.unexpected[i]);
  }
  if (report.unexpected.size() > kShown) names += " ...";
  messages.say(quote_bytes(report.path) + ": " + count(report.unexpected.size(), "tensor") +
               " not used: " + names);
}

void say_notes(const InputList& inputs, const PartitionChoice& choice, Messages& messages) {
  for (const std::string& note : inputs.notes()) messages.say(note);
  if (choice.ignored.empty()) return;
  const bool lacks_count = choice.ignored.find(' ') == std::string::npos;
  messages.say(choice.ignored +
               (lacks_count
                    ? " is ignored: it comes without the number of processes (--partition I/N "
                      "divides the inputs among them)"
                    : " are ignored: they divide lists (--manifest), and files that are named one "
                      "by one are all done (--partition I/N divides these, too)"));
}

void say_share(const InputList& inputs, const PartitionChoice& choice, std::size_t own,
               Messages& messages) {
  const std::size_t all = inputs.size() + inputs.bad_rows().size();
  if (own == all) return;
  messages.say(fmt::format("share {}/{} by {}: {} of {}, the rest is other processes'",
                           choice.partition.index, choice.partition.count, choice.chosen_by, own,
                           count(all, "clip")));
}

void say_engine(const EngineChoice& engine, Messages& messages) {
  if (!engine.reason.empty()) {
    messages.say(
        fmt::format("--engine fused falls back on {}: {}", name_of(engine.kind), engine.reason));
  }
  if (engine.kind == EngineKind::device) {
    messages.say("the device engine runs " + quote_bytes(engine.steps, 600) +
                 "; no GPU had run it when this version was made");
  }
}

int run_over_clips(const std::string& command, const ClipOptions& options,
                   const OutputOptions& output, const InputList& inputs, Fingerprint fingerprint,
                   ClipRunRequest request, ProtectedFiles sources, Messages& messages,
                   const std::vector<std::pair<std::string, std::string>>& about) {
  add_output_format(fingerprint, options.output_format);
  add_shard_size(fingerprint, options.shard_size.value_or(0));
  const PartitionChoice choice = options.partition();
  request.partition = choice.partition;
  say_notes(inputs, choice, messages);
  request.verify = options.verify;
  if (options.max_failures) request.max_failures = *options.max_failures;
  request.read_timeout_seconds = options.read_timeout_seconds;
  if (options.manifest != "-") sources.add(options.manifest, "the manifest");
  RunDirectory directory(options.output, std::move(fingerprint), request.partition, sources);
  if (directory.placement() == Placement::kUnderLock) {
    messages.say(quote_bytes(options.output) +
                 ": this file system has no hard links and no rename that refuses to replace: "
                 "outputs are renamed under a lock, and no other program may write here");
  }
  catch_stop_signals();
  request.stop_requested = is_stopping;

  const LockWaitEvents lock_waits = told_lock_waits(messages);

  Json clips = Json::array();
  Json failures = Json::array();
  RunProgress progress;
  ClipRunEvents events;
  AudioNotes notes(request.audio, messages);
  events.noted = [&](const std::string& path, const std::string& note) { notes.note(path, note); };
  events.planned = [&](const ClipRunPlan& plan) {
    progress.planned(plan.to_do());
    say_share(inputs, choice, plan.inputs, messages);
    messages.say(plan_line(plan));
    for (const std::string& note : notes_on(plan)) messages.say(note);
    progress.show(messages);
  };
  events.finished = [&](const ClipReport& clip) {
    progress.finished(clip.audio_seconds);
    notes.count_channels(clip.source_channels);
    if (output.json) clips.push_back(json_of(clip));
    progress.show(messages);
  };
  events.failed = [&](const ClipFailure& failure) {
    progress.failed();
    messages.error(failure.message);
    if (output.json) failures.push_back(json_of(failure));
    progress.show(messages);
  };
  ClipRunSummary summary;
  try {
    summary = run_clips(inputs, request, directory, events);
  } catch (const LockWaitEnded&) {
    messages.say(
        "stopped by a signal while another process held a lock, the same command again "
        "does the rest");
    return kSignalBase + stop_signal();
  }
  notes.say_channels();
  messages.say(end_line(summary, options.output));
  if (output.json) {
    Json report = {{"command", command},
                   {"output", escaped_name(options.output)},
                   {"fingerprint", directory.digest()}};
    for (const auto& [name, value] : about) report[name] = value;
    report.update(json_of(summary));
    report["clips"] = std::move(clips);
    report["failures"] = std::move(failures);
    print_report(json_text(report));
  }
  int status = kDone;
  if (summary.stopped) {
    status = kSignalBase + stop_signal();
  } else if (summary.too_many_failures || (summary.failed > 0 && !options.allow_failures)) {
    status = kSomeInputsFailed;
  }
  if (summary.hanging_readers > 0) end_without_waiting(status);
  return status;
}

}  // namespace w2vbert::tool
