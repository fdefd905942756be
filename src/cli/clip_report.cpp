#include "clip_report.h"

#include <fmt/format.h>

#include <cmath>
#include <nlohmann/json.hpp>

#include "console.h"
#include "exit_status.h"
#include "signals.h"
#include "w2vbert/core/text.h"

namespace w2vbert::cli {
namespace {

using Json = nlohmann::ordered_json;

Json json_of(const ClipReport& clip) {
  return {{"path", clip.path},
          {"name", clip.name},
          {"output", clip.output},
          {"frames", clip.frames},
          {"source_sample_rate_hz", clip.source_sample_rate_hz},
          {"source_channels", clip.source_channels},
          {"audio_seconds", clip.audio_seconds},
          {"read_seconds", clip.read_seconds},
          {"compute_seconds", clip.compute_seconds},
          {"write_seconds", clip.write_seconds}};
}

Json json_of(const ClipFailure& failure) {
  return {{"path", failure.path},
          {"stage", failure.stage},
          {"kind", failure.kind},
          {"message", failure.message}};
}

std::string speed(double audio_seconds, double seconds) {
  return seconds > 0 ? fmt::format("{:.1f} x real time", audio_seconds / seconds) : "";
}

std::string count(std::size_t number, const char* word) {
  return fmt::format("{} {}{}", number, word, number == 1 ? "" : "s");
}

std::string plan_line(const ClipRunPlan& plan) {
  std::string line = count(plan.inputs, "clip");
  if (plan.finished > 0) line += fmt::format(", {} finished before", plan.finished);
  if (plan.damaged > 0) line += fmt::format(", {} damaged and redone", plan.damaged);
  if (plan.temporaries > 0) line += ", " + count(plan.temporaries, "left-over temporary file") + " removed";
  return line;
}

std::string summary_line(const ClipRunSummary& summary, const std::string& directory) {
  std::string line = fmt::format("{} done, {} failed, {:.1f} s of audio in {:.1f} s",
                                 count(summary.done, "clip"), summary.failed, summary.audio_seconds,
                                 summary.elapsed_seconds);
  if (summary.done > 0) line += " (" + speed(summary.audio_seconds, summary.elapsed_seconds) + ")";
  if (summary.stopped) line += "; stopped by a signal, the same command again does the rest";
  return line + "; " + quote_bytes(directory);
}

Json json_of(const ClipRunSummary& summary) {
  return {{"inputs", summary.plan.inputs},
          {"finished_before", summary.plan.finished},
          {"redone", summary.plan.damaged},
          {"done", summary.done},
          {"failed", summary.failed},
          {"stopped", summary.stopped},
          {"audio_seconds", summary.audio_seconds},
          {"elapsed_seconds", summary.elapsed_seconds}};
}

}  // namespace

void say_warnings(const LoadReport& report, Messages& messages) {
  for (const std::string& warning : report.warnings) messages.say(warning);
}

void say_engine(const EngineChoice& engine, Messages& messages) {
  if (!engine.reason.empty()) {
    messages.say(fmt::format("--engine fused falls back on {}: {}", engine.name, engine.reason));
  }
}

int run_over_clips(const std::string& command, const ClipOptions& options,
                   const OutputOptions& output, const InputList& inputs, const Fingerprint& fingerprint,
                   ClipRunRequest request, Messages& messages,
                   const std::vector<std::pair<std::string, std::string>>& about) {
  RunDirectory directory(options.output, fingerprint, request.shard);
  catch_stop_signals();
  request.stop_requested = [] { return stop_signal() != 0; };

  Json clips = Json::array();
  Json failures = Json::array();
  std::size_t to_do = 0;
  std::size_t done = 0;
  std::size_t failed = 0;
  double audio_seconds = 0;
  double busy_seconds = 0;
  const auto show_progress = [&] {
    std::string remark = "clips";
    if (failed > 0) remark += fmt::format(", {} failed", failed);
    if (done > 0) remark += ", " + speed(audio_seconds, busy_seconds);
    messages.progress(done + failed, to_do, remark);
  };
  ClipRunEvents events;
  events.planned = [&](const ClipRunPlan& plan) {
    to_do = plan.to_do();
    messages.say(plan_line(plan));
    show_progress();
  };
  events.finished = [&](const ClipReport& clip) {
    ++done;
    audio_seconds += clip.audio_seconds;
    busy_seconds += clip.compute_seconds + clip.write_seconds;
    if (output.json) clips.push_back(json_of(clip));
    show_progress();
  };
  events.failed = [&](const ClipFailure& failure) {
    ++failed;
    messages.error(failure.message);
    if (output.json) failures.push_back(json_of(failure));
    show_progress();
  };
  const ClipRunSummary summary = run_clips(inputs, request, directory, events);
  messages.say(summary_line(summary, options.output));
  if (output.json) {
    Json report = {{"command", command},
                   {"output", options.output},
                   {"fingerprint", directory.digest()}};
    for (const auto& [name, value] : about) report[name] = value;
    report.update(json_of(summary));
    report["clips"] = std::move(clips);
    report["failures"] = std::move(failures);
    print_report(report.dump(2, ' ', false, Json::error_handler_t::replace) + "\n");
  }
  if (summary.stopped) return kSignalBase + stop_signal();
  return summary.failed > 0 ? kSomeInputsFailed : kDone;
}

}  // namespace w2vbert::cli
