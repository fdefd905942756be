#include "tool/run/clip_run.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <climits>
#include <exception>
#include <memory>
#include <utility>
#include <vector>

#include "core/file.h"
#include "core/stopwatch.h"
#include "tool/run/batch_runner.h"
#include "tool/run/batch_workers.h"
#include "tool/run/clip_reader.h"
#include "tool/run/output_writer.h"
#include "tool/store/outputs.h"
#include "tool/store/writable.h"
#include "w2vbert/core/error.h"

namespace w2vbert::tool {

std::vector<ClipFailure> bad_rows_of(const InputList& inputs, const Partition& partition) {
  std::vector<ClipFailure> failures;
  for (const BadRow& row : inputs.bad_rows()) {
    if (partition.holds(row.key())) failures.push_back(failure_of(row));
  }
  return failures;
}

namespace {

// One run's events and counts.
class Progress {
 public:
  Progress(const ClipRunRequest& request, RunDirectory& directory, const ClipRunEvents& events,
           ClipRunSummary& summary)
      : request_(request), directory_(directory), events_(events), summary_(summary) {}

  void failed(const ClipFailure& failure) {
    summary_.too_many_failures = ++summary_.failed > request_.max_failures;
    directory_.record(failure);
    events_.failed(failure);
  }
  void written(const std::vector<WrittenOutput>& outputs) {
    for (const WrittenOutput& output : outputs) {
      if (output.failure) {
        failed(failure_of(output.report.path, "write", output.failure));
        continue;
      }
      ++summary_.done;
      summary_.audio_seconds += output.report.audio_seconds;
      events_.finished(output.report);
    }
  }
  bool must_stop() {
    summary_.stopped = request_.stop_requested();
    return summary_.stopped || summary_.too_many_failures;
  }

 private:
  const ClipRunRequest& request_;
  RunDirectory& directory_;
  const ClipRunEvents& events_;
  ClipRunSummary& summary_;
};

Output output_of(const ReadClip& clip, BatchRunner<ClipTensors>::Result result,
                 const InputList& inputs, const Outputs& outputs) {
  Output output;
  output.index = clip.index;
  ClipReport& report = output.report = report_of(clip);
  report.path = inputs.path(clip.index);
  report.name = inputs.name(clip.index);
  report.output = outputs.path_of(clip.index);
  report.compute_seconds = clip.feature_seconds + result.seconds;
  report.add_note(result.output.note);
  output.tensors = std::move(result.output.tensors);
  return output;
}

}  // namespace

ClipRunSummary run_clips(const InputList& inputs, const ClipRunRequest& request,
                         RunDirectory& directory, const ClipRunEvents& events) {
  const at::NoGradGuard no_grad;
  ClipRunSummary summary;
  const OutputContent content{request.tensor_names, request.row_bytes,
                              request.features.frame_rate_hz()};
  const std::unique_ptr<Outputs> outputs = make_outputs(inputs, content, directory);
  Outputs::ScanResult found = outputs->scan(request.partition, request.verify);
  const std::vector<ClipFailure> bad_rows = bad_rows_of(inputs, request.partition);
  // All has been looked at and nothing refused: from here on the directory may change.
  summary.plan.inputs = found.finished + found.pending.size() + bad_rows.size();
  summary.plan.finished = found.finished;
  summary.plan.damaged = found.damaged;
  summary.plan.replaced = found.replaced;
  summary.plan.unrecorded = found.unrecorded;
  summary.plan.unreadable = found.unreadable;
  summary.plan.first_unreadable = found.first_unreadable;
  summary.plan.is_unlocked = found.is_unlocked;
  directory.resume(summary.plan.inputs, summary.plan.finished);
  summary.plan.temporaries = outputs->clean();
  events.planned(summary.plan);
  Progress progress(request, directory, events, summary);
  const auto start = [&] {
    directory.start(summary.plan.inputs, summary.plan.finished);
    for (const ClipFailure& row : bad_rows) progress.failed(row);
  };
  if (found.pending.empty()) {
    start();
    directory.synchronise();
    return summary;
  }
  // The first clips are read while the model loads.
  const auto clips = static_cast<int>(std::min<std::size_t>(found.pending.size(), INT_MAX));
  ClipReader reader(inputs, found.pending, request, std::min(request.reading_threads, clips),
                    2 * request.batch_frames * request.functions);
  const std::vector<BatchFunction> functions = request.prepare();
  start();

  OutputWriter writer(*outputs);
  const Stopwatch watch;
  const BatchesRun run = run_batches<ClipTensors>(
      functions, request.batch_frames, reader, [&] { return progress.must_stop(); },
      [&](const ReadClip& clip, const char* stage, const std::exception_ptr& failure) {
        progress.failed(failure_of(inputs.path(clip.index), stage, failure));
        writer.skip(clip.index);
        return !progress.must_stop();
      },
      [&](const ReadClip& clip, BatchRunner<ClipTensors>::Result result) {
        for (const std::string& note : {clip.note, result.output.note}) {
          if (!note.empty()) events.noted(inputs.path(clip.index), note);
        }
        writer.add(output_of(clip, std::move(result), inputs, *outputs));
      },
      [&] { progress.written(writer.take_written()); });
  if (run.interrupted) summary.stopped = true;
  writer.finish();
  progress.written(writer.take_written());
  directory.synchronise();
  summary.elapsed_seconds = watch.seconds();
  summary.model_seconds = run.seconds;
  summary.hanging_readers = reader.hanging();
  return summary;
}

void check_no_input_is_an_output(const InputList& inputs, const std::string& output_directory) {
  for (std::size_t i = 0; i < inputs.size(); ++i) {
    const std::string path = inputs.path(i);
    // An input elsewhere that only links to an output is found when the output would be removed.
    if (!path.ends_with(kOutputEnding)) continue;
    const std::string output = inputs.name(i) + std::string(kOutputEnding);
    if (OutputPlace(join_path(output_directory, output)).is(path) ||
        OutputPlace(join_path(output_directory, file_name(path))).is(path)) {  // a shard's name
      throw UsageError(path, "", "would be overwritten by its own output",
                       "another output directory");
    }
  }
}

}  // namespace w2vbert::tool
