// Batches of clips through a model, one after the other.
#pragma once

#include <algorithm>
#include <cstdint>
#include <exception>
#include <functional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "core/stopwatch.h"
#include "tool/run/clip_reader.h"
#include "tool/run/failure.h"
#include "tool/store/run_directory.h"
#include "w2vbert/core/error.h"
#include "w2vbert/engine/engine.h"

namespace w2vbert::tool {

// Runs batches through the model, and keeps them so small that memory suffices: one that fails is
// halved until its clips are alone, and where memory was short the next ones are smaller for a
// while.
template <class Output>
class BatchRunner {
 public:
  using Function = std::function<std::vector<Output>(const std::vector<EngineClip>&)>;

  // `function` outlives the runner; what it gives for a clip does not depend on the others.
  BatchRunner(const Function& function, std::int64_t max_frames)
      : function_(function), max_frames_(max_frames), frames_(max_frames) {}

  // How many frames the next batch may have.
  std::int64_t frames() const { return frames_; }
  double seconds() const { return seconds_; }

  struct Result {
    Output output{};
    std::exception_ptr failure;
    double seconds = 0;  // this clip's part
  };
  // One result for each clip. Throws DeviceError, CheckpointError, Interrupted.
  std::vector<Result> run(const std::vector<EngineClip>& clips) {
    frames_ = std::min(max_frames_, frames_ + std::max<std::int64_t>(1, max_frames_ / 16));
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
      std::vector<Output> outputs = function_({clips.begin(), clips.end()});
      std::int64_t frames = 0;
      for (const EngineClip& clip : clips) frames += clip.input_features.size(0);
      const double seconds = watch.seconds();
      seconds_ += seconds;
      for (std::size_t i = 0; i < clips.size(); ++i) {
        results[i].output = std::move(outputs[i]);
        results[i].seconds = seconds * static_cast<double>(clips[i].input_features.size(0)) /
                             static_cast<double>(frames);
      }
      return;
    } catch (const c10::AcceleratorError& error) {
      throw DeviceError("", "", "the device is lost: " + one_line(error));
    } catch (const CheckpointError&) {  // weights that are read as they are needed
      throw;
    } catch (const Interrupted&) {
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

  const Function& function_;
  const std::int64_t max_frames_;
  std::int64_t frames_;
  double seconds_ = 0;
};

// What went wrong with one clip.
inline ClipFailure failure_of(const std::string& path, const char* stage,
                              std::exception_ptr exception) {
  const Description description = describe(std::move(exception), path);
  return {path, stage, description.kind, description.message};
}

// Tells what became of one clip.
template <class Result, class Failed, class Done>
void report_result(const ReadClip& clip, Result&& result, const Failed& failed, const Done& done) {
  if (result.failure) {
    failed(clip, "model", result.failure);
  } else {
    done(clip, std::forward<Result>(result));
  }
}

// Runs what could be read of a batch. failed(clip, stage, exception) hears of the others, and of
// those that the model fails for; if it returns false for one that could not be read, nothing is
// run. done(clip, result) gets the rest.
template <class Output, class Failed, class Done>
void run_batch(const std::vector<ReadClip>& batch, BatchRunner<Output>& runner,
               const Failed& failed, const Done& done) {
  std::vector<const ReadClip*> read;
  std::vector<EngineClip> clips;
  for (const ReadClip& clip : batch) {
    if (clip.failure) {
      if (!failed(clip, "read", clip.failure)) return;
      continue;
    }
    read.push_back(&clip);
    clips.push_back(clip.features);
  }
  if (clips.empty()) return;
  std::vector<typename BatchRunner<Output>::Result> results = runner.run(clips);
  for (std::size_t i = 0; i < results.size(); ++i) {
    report_result(*read[i], std::move(results[i]), failed, done);
  }
}

}  // namespace w2vbert::tool
