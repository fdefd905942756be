#include "w2vbert/pipeline/clip_run.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <exception>
#include <set>
#include <span>
#include <utility>
#include <vector>

#include "clip_reader.h"
#include "output_writer.h"
#include "w2vbert/core/error.h"
#include "w2vbert/core/stopwatch.h"
#include "w2vbert/core/text.h"
#include "w2vbert/pipeline/failure.h"
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
    plan.bad_rows.push_back(
        {row.place, "manifest", "row", quote_bytes(row.place) + ": " + row.problem});
  }
  plan.counts.damaged = damaged.size();
  // All has been looked at and nothing refused: from here on the directory may change.
  for (const std::string& folder : folders) {
    plan.counts.temporaries += directory.remove_stale_temporaries(folder);
  }
  for (const std::size_t i : damaged) directory.remove_damaged(inputs.name(i), inputs.path(i));
  return plan;
}

// Runs batches through the model, and keeps them so small that memory suffices.
class BatchRunner {
 public:
  BatchRunner(const BatchFunction& function, std::int64_t most_frames)
      : function_(function), most_frames_(most_frames), frames_(most_frames) {}

  // How many frames the next batch may have.
  std::int64_t frames() const { return frames_; }
  double seconds() const { return seconds_; }

  struct Result {
    NamedTensors tensors;
    std::exception_ptr failure;
    double seconds = 0;  // this clip's share
  };
  // One result for each clip. Throws DeviceError, CheckpointError.
  std::vector<Result> run(const std::vector<EngineClip>& clips) {
    frames_ = std::min(most_frames_, frames_ + std::max<std::int64_t>(1, most_frames_ / 16));
    std::vector<Result> results(clips.size());
    run(clips, results);
    return results;
  }

 private:
  void run(std::span<const EngineClip> clips, std::span<Result> results) {
    std::exception_ptr failure;
    bool out_of_memory = false;
    const Stopwatch watch;
    try {
      std::vector<NamedTensors> outputs = function_({clips.begin(), clips.end()});
      std::int64_t frames = 0;
      for (const EngineClip& clip : clips) frames += clip.input_features.size(0);
      for (std::size_t i = 0; i < clips.size(); ++i) {
        for (auto& [name, tensor] : outputs[i]) tensor = tensor.to(at::kCPU).contiguous();
        results[i].tensors = std::move(outputs[i]);
      }
      const double seconds = watch.seconds();
      seconds_ += seconds;
      for (std::size_t i = 0; i < clips.size(); ++i) {
        results[i].seconds = seconds * static_cast<double>(clips[i].input_features.size(0)) /
                             static_cast<double>(frames);
      }
      return;
    } catch (const c10::AcceleratorError& error) {
      throw DeviceError("", "", "the device is lost: " + one_line(error));
    } catch (const CheckpointError&) {  // weights that are read as they are needed
      throw;
    } catch (const std::exception& error) {
      failure = std::current_exception();
      out_of_memory = is_out_of_memory(error);
    }
    // Outside the handler, which may hold the batch's memory.
    if (clips.size() == 1) {
      results.front().failure = failure;
      return;
    }
    failure = nullptr;
    if (out_of_memory) frames_ = std::max<std::int64_t>(1, frames_ / 2);
    const std::size_t half = clips.size() / 2;
    run(clips.first(half), results.first(half));
    run(clips.subspan(half), results.subspan(half));
  }

  const BatchFunction& function_;
  const std::int64_t most_frames_;
  std::int64_t frames_;
  double seconds_ = 0;
};

// One run's events and counts.
class Progress {
 public:
  Progress(const ClipRunRequest& request, RunDirectory& directory, const ClipRunEvents& events,
           ClipRunSummary& summary)
      : request_(request), directory_(directory), events_(events), summary_(summary) {}

  void failed(const std::string& path, const char* stage, std::exception_ptr exception) {
    const Description description = describe(std::move(exception), path);
    failed({path, stage, description.kind, description.message});
  }
  void failed(const ClipFailure& failure) {
    ++summary_.failed;
    directory_.record(failure);
    events_.failed(failure);
  }
  void written(const std::vector<WrittenOutput>& outputs) {
    for (const WrittenOutput& output : outputs) {
      if (output.failure) {
        failed(output.report.path, "write", output.failure);
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

Output output_of(const ReadClip& clip, BatchRunner::Result result, const InputList& inputs,
                 const ClipRunRequest& request, const RunDirectory& directory) {
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
  output.tensors = std::move(result.tensors);
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

  BatchRunner runner(function, request.batch_frames);
  OutputWriter writer(directory, request.writing_threads);
  const Stopwatch watch;
  while (!progress.must_stop()) {
    const std::vector<ReadClip> batch = reader.next_batch(runner.frames());
    if (batch.empty()) break;
    std::vector<const ReadClip*> read;
    std::vector<EngineClip> clips;
    for (const ReadClip& clip : batch) {
      if (clip.failure) {
        if (progress.must_stop()) break;
        progress.failed(inputs.path(clip.index), "read", clip.failure);
        continue;
      }
      read.push_back(&clip);
      clips.push_back(clip.features);
    }
    if (clips.empty() || progress.must_stop()) continue;
    std::vector<BatchRunner::Result> results = runner.run(clips);
    for (std::size_t i = 0; i < clips.size(); ++i) {
      if (results[i].failure) {
        progress.failed(inputs.path(read[i]->index), "model", results[i].failure);
      } else {
        writer.add(output_of(*read[i], std::move(results[i]), inputs, request, directory));
      }
    }
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
