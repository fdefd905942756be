#include "w2vbert/pipeline/clip_run.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <exception>
#include <set>
#include <utility>
#include <vector>

#include "batch_runner.h"
#include "clip_reader.h"
#include "output_writer.h"
#include "w2vbert/core/error.h"
#include "w2vbert/core/stopwatch.h"
#include "w2vbert/core/text.h"
#include "w2vbert/pipeline/place.h"
#include "w2vbert/pipeline/version.h"

namespace w2vbert {
namespace {

constexpr std::int64_t kFbankFramesPerSecond = 100;

std::string folder_of(const std::string& name) {
  const std::size_t slash = name.rfind('/');
  return slash == std::string::npos ? "" : name.substr(0, slash);
}

struct Plan {
  ClipRunPlan counts;
  std::vector<std::size_t> pending;
  std::vector<ClipFailure> bad_rows;  // of the manifest
};

Plan plan_run(const InputList& inputs, const ClipRunRequest& request,
              const RunDirectory& directory) {
  Plan plan;
  std::set<std::string> folders = {""};  // where the run record is
  std::vector<std::size_t> damaged;
  for (std::size_t i = 0; i < inputs.size(); ++i) {
    const std::string name = inputs.name(i);
    if (!request.shard.holds(name)) continue;
    ++plan.counts.inputs;
    folders.insert(folder_of(name));
    switch (directory.state_of(name, request.verify)) {
      case OutputState::kFinished:
        ++plan.counts.finished;
        continue;
      case OutputState::kDamaged:
        damaged.push_back(i);
        [[fallthrough]];
      case OutputState::kAbsent:
        plan.pending.push_back(i);
    }
  }
  for (const BadRow& row : inputs.bad_rows()) {
    if (!request.shard.holds(row.place)) continue;
    ++plan.counts.inputs;
    plan.bad_rows.push_back(failure_of(row));
  }
  plan.counts.damaged = damaged.size();
  // All has been looked at and nothing refused: from here on the directory may change.
  for (const std::string& folder : folders) {
    plan.counts.temporaries += directory.remove_stale_temporaries(folder);
  }
  for (const std::size_t i : damaged) directory.remove_damaged(inputs.name(i), inputs.path(i));
  return plan;
}

// One run's events and counts.
class Progress {
 public:
  Progress(const ClipRunRequest& request, RunDirectory& directory, const ClipRunEvents& events,
           ClipRunSummary& summary)
      : request_(request), directory_(directory), events_(events), summary_(summary) {}

  void failed(const ClipFailure& failure) {
    ++summary_.failed;
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
    summary_.too_many_failures = summary_.failed > request_.max_failures;
    return summary_.stopped || summary_.too_many_failures;
  }

 private:
  const ClipRunRequest& request_;
  RunDirectory& directory_;
  const ClipRunEvents& events_;
  ClipRunSummary& summary_;
};

Output output_of(const ReadClip& clip, BatchRunner<NamedTensors>::Result result,
                 const InputList& inputs, const ClipRunRequest& request,
                 const RunDirectory& directory) {
  Output output;
  ClipReport& report = output.report;
  report.path = inputs.path(clip.index);
  report.name = inputs.name(clip.index);
  report.output = directory.output_path(report.name);
  report.frames = clip.frames();
  report.source_sample_rate_hz = clip.source_sample_rate_hz;
  report.source_channels = clip.source_channels;
  report.audio_seconds = static_cast<double>(clip.samples) / clip.sample_rate_hz;
  report.read_seconds = clip.read_seconds;
  report.compute_seconds = clip.feature_seconds + result.seconds;
  output.tensors = std::move(result.output);
  output.metadata = {
      {"fingerprint", directory.digest()},
      {"input", quote_bytes(report.name, report.name.size() * 4)},
      {"frames", std::to_string(report.frames)},
      {"frame_rate_hz", std::to_string(kFbankFramesPerSecond / request.features.stride)},
      {"samples", std::to_string(clip.samples)},
      {"sample_rate_hz", std::to_string(clip.sample_rate_hz)},
      {"source_sample_rate_hz", std::to_string(clip.source_sample_rate_hz)},
      {"source_channels", std::to_string(clip.source_channels)},
      {"w2vbert", library_version()},
  };
  return output;
}

}  // namespace

ClipRunSummary run_clips(const InputList& inputs, const ClipRunRequest& request,
                         RunDirectory& directory, const ClipRunEvents& events) {
  const at::NoGradGuard no_grad;
  ClipRunSummary summary;
  const Plan plan = plan_run(inputs, request, directory);
  summary.plan = plan.counts;
  events.planned(plan.counts);
  Progress progress(request, directory, events, summary);
  if (plan.pending.empty()) {
    directory.start(plan.counts.inputs, plan.counts.finished);
    for (const ClipFailure& row : plan.bad_rows) progress.failed(row);
    return summary;
  }
  // The first clips are read while the model loads.
  ClipReader reader(inputs, plan.pending, request, request.reading_threads,
                    2 * request.batch_frames);
  const BatchFunction function = request.prepare();
  directory.start(plan.counts.inputs, plan.counts.finished);
  for (const ClipFailure& row : plan.bad_rows) progress.failed(row);

  BatchRunner<NamedTensors> runner(function, request.batch_frames);
  OutputWriter writer(directory, request.writing_threads);
  const Stopwatch watch;
  while (!progress.must_stop()) {
    const std::vector<ReadClip> batch = reader.next_batch(runner.frames());
    if (batch.empty()) break;
    if (progress.must_stop()) break;
    run_batch(
        batch, runner,
        [&](const ReadClip& clip, const char* stage, const std::exception_ptr& failure) {
          progress.failed(failure_of(inputs.path(clip.index), stage, failure));
          return !progress.must_stop();
        },
        [&](const ReadClip& clip, BatchRunner<NamedTensors>::Result result) {
          writer.add(output_of(clip, std::move(result), inputs, request, directory));
        });
    progress.written(writer.take_written());
  }
  writer.finish();
  progress.written(writer.take_written());
  summary.elapsed_seconds = watch.seconds();
  summary.model_seconds = runner.seconds();
  return summary;
}

void check_no_input_is_an_output(const InputList& inputs, const std::string& output_directory) {
  for (std::size_t i = 0; i < inputs.size(); ++i) {
    const std::string path = inputs.path(i);
    // An input elsewhere that only links to an output is found when the output would be removed.
    if (!path.ends_with(kOutputEnding)) continue;
    if (is_same_file(path, output_directory + "/" + inputs.name(i) + std::string(kOutputEnding))) {
      throw UsageError(path, "", "would be overwritten by its own output",
                       "another output directory");
    }
  }
}

}  // namespace w2vbert
