#include "tool/run/answer_run.h"

#include <ATen/Parallel.h>

#include <algorithm>
#include <climits>
#include <exception>
#include <utility>

#include "core/stopwatch.h"
#include "tool/run/batch_runner.h"
#include "tool/run/batch_workers.h"
#include "tool/run/clip_reader.h"
#include "tool/run/clip_run.h"

namespace w2vbert::tool {
namespace {

AnsweredClip answered(const ReadClip& read, const InputList& inputs) {
  AnsweredClip clip;
  clip.index = read.index;
  clip.path = inputs.path(read.index);
  const auto segment = inputs.segment(read.index);
  if (segment && segment->has_offset) clip.segment = segment;
  clip.channel = inputs.channel(read.index);
  clip.source_channels = read.source_channels;
  clip.note = read.note;
  clip.input = read.input;
  clip.samples = read.samples;
  clip.audio_seconds = read.audio_seconds();
  return clip;
}

}  // namespace

AnswerSummary answer_clips(const InputList& inputs, const AnswerRunRequest& request,
                           const std::function<std::vector<AnswerFunction>()>& load,
                           const Answering& answer, const AnswerEvents& events) {
  AnswerSummary summary;
  const auto failed = [&](const ClipFailure& failure, std::optional<std::size_t> index = {}) {
    ++summary.failed;
    events.failed(failure, index);
  };
  std::vector<std::size_t> pending;
  for (std::size_t i = 0; i < inputs.size(); ++i) {
    if (request.partition.holds(inputs.name(i)) && !request.is_answered(i)) pending.push_back(i);
  }
  const std::vector<ClipFailure> bad_rows = bad_rows_of(inputs, request.partition);
  events.planned(pending.size() + bad_rows.size());
  if (pending.empty()) {
    for (const ClipFailure& row : bad_rows) failed(row);
    return summary;
  }
  ClipRunRequest reading;
  reading.audio = request.audio;
  reading.features = request.features;
  reading.windows = request.windows;
  reading.read_timeout_seconds = request.read_timeout_seconds;
  const auto clips = static_cast<int>(std::min<std::size_t>(pending.size(), INT_MAX));
  ClipReader reader(inputs, pending, reading, std::min(request.reading_threads, clips),
                    2 * request.batch_frames * request.functions, ClipOrder::as_listed);
  const std::vector<AnswerFunction> functions = load();
  for (const ClipFailure& row : bad_rows) failed(row);
  const Stopwatch watch;
  const auto clip_failed = [&](const ReadClip& clip, const char* stage,
                               const std::exception_ptr& failure) {
    failed(failure_of(inputs.path(clip.index), stage, failure), clip.index);
    return true;
  };
  struct Computed {
    AnsweredClip clip;
    WindowTensors tensors;
    std::function<void()> tell = {};
    std::exception_ptr failure = {};
  };
  std::vector<Computed> batch;
  const auto answer_batch = [&] {
    const auto size = static_cast<std::int64_t>(batch.size());
    at::parallel_for(0, size, 1, [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t i = begin; i < end; ++i) {
        Computed& one = batch[static_cast<std::size_t>(i)];
        if (events.stop_requested()) continue;  // a beam search takes its time
        try {
          one.tell = answer(one.clip, one.tensors);
        } catch (...) {
          one.failure = std::current_exception();
        }
      }
    });
    for (const Computed& one : std::exchange(batch, {})) {
      if (one.failure) {
        failed(failure_of(one.clip.path, "model", one.failure), one.clip.index);
        continue;
      }
      if (!one.tell) {
        summary.stopped = true;
        break;  // what is told is told in the list's order
      }
      ++summary.done;
      summary.audio_seconds += one.clip.audio_seconds;
      one.tell();
    }
  };
  const BatchesRun run = run_batches<WindowTensors>(
      functions, request.batch_frames, reader,
      [&] {
        summary.stopped = events.stop_requested();
        return summary.stopped;
      },
      clip_failed,
      [&](const ReadClip& read, BatchRunner<WindowTensors>::Result result) {
        batch.push_back({answered(read, inputs), std::move(result.output)});
      },
      answer_batch);
  if (run.interrupted) summary.stopped = true;
  summary.elapsed_seconds = watch.seconds();
  summary.hanging_readers = reader.hanging();
  return summary;
}

}  // namespace w2vbert::tool
