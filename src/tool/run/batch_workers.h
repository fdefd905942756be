// Batches of clips through several devices at once.
#pragma once

#include <ATen/Parallel.h>

#include <algorithm>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <functional>
#include <map>
#include <mutex>
#include <optional>
#include <thread>
#include <utility>
#include <vector>

#include "tool/run/batch_runner.h"
#include "tool/run/clip_reader.h"

namespace w2vbert::tool {

// A batch that has been through a device.
template <class Output>
struct ComputedBatch {
  std::vector<ReadClip> clips;
  std::vector<typename BatchRunner<Output>::Result> results;  // of those that could be read
};

// A thread for each device takes the next batch from the reader and computes it. The batches come
// out in the order in which they were read, so that a run of many devices reports and writes as one
// of a single device does.
template <class Output>
class BatchWorkers {
 public:
  using Function = BatchRunner<Output>::Function;

  // `functions`, one for each device, and `reader` outlive the workers. The threads that LibTorch
  // has for an operation are divided among them, until the destructor. Throws std::system_error
  // when a thread cannot be started.
  BatchWorkers(const std::vector<Function>& functions, std::int64_t max_frames, ClipReader& reader)
      : reader_(reader), max_ahead_(functions.size() + 1), threads_before_(at::get_num_threads()) {
    const int threads = std::max(
        1, at::get_num_threads() / static_cast<int>(std::max<std::size_t>(1, functions.size())));
    try {
      for (const Function& function : functions) {
        threads_.emplace_back([this, &function, max_frames, threads] {
          at::set_num_threads(threads);
          work(function, max_frames);
        });
      }
    } catch (...) {
      stop();
      throw;
    }
  }
  // Waits for the batches that are being computed.
  ~BatchWorkers() { stop(); }
  BatchWorkers(const BatchWorkers&) = delete;
  BatchWorkers& operator=(const BatchWorkers&) = delete;

  // Waits for the next batch. Nothing: there are no more. Throws what ended a thread, once the
  // batches before have come out: DeviceError, CheckpointError, Interrupted, and what the reader
  // throws.
  std::optional<ComputedBatch<Output>> next() {
    std::unique_lock lock(mutex_);
    const auto failed = [this] { return error_ && taken_ >= failed_at_; };
    changed_.wait(lock, [&] {
      return failed() || computed_.contains(taken_) || (all_read_ && taken_ == read_);
    });
    if (failed()) std::rethrow_exception(error_);
    const auto found = computed_.find(taken_);
    if (found == computed_.end()) return std::nullopt;
    ComputedBatch<Output> batch = std::move(found->second);
    computed_.erase(found);
    ++taken_;
    changed_.notify_all();
    return batch;
  }

  // That the devices have computed, all together.
  double seconds() const {
    const std::lock_guard lock(mutex_);
    return seconds_;
  }

 private:
  void work(const Function& function, std::int64_t max_frames) {
    BatchRunner<Output> runner(function, max_frames);
    while (compute_next(runner)) {
    }
  }

  // False: there is nothing more to do.
  bool compute_next(BatchRunner<Output>& runner) {
    ComputedBatch<Output> batch;
    std::size_t number = 0;
    {
      // One thread at a time reads: the batches are numbered as the reader gives them.
      const std::lock_guard reading(reading_);
      {
        std::unique_lock lock(mutex_);
        changed_.wait(lock, [this] { return ended() || read_ < taken_ + max_ahead_; });
        if (ended()) return false;
      }
      try {
        batch.clips = reader_.next_batch(runner.frames());
      } catch (...) {
        const std::lock_guard lock(mutex_);
        return fail(read_);
      }
      const std::lock_guard lock(mutex_);
      if (stopped_ || error_) return false;
      if (batch.clips.empty()) {
        all_read_ = true;
        changed_.notify_all();
        return false;
      }
      number = read_++;
    }
    const double before = runner.seconds();
    std::vector<EngineClip> clips;
    for (const ReadClip& clip : batch.clips) {
      if (!clip.failure) clips.push_back(clip.features);
    }
    try {
      if (!clips.empty()) batch.results = runner.run(clips);
    } catch (...) {
      // What could not be read of the batch is told of before.
      std::erase_if(batch.clips, [](const ReadClip& clip) { return !clip.failure; });
      const std::lock_guard lock(mutex_);
      computed_.emplace(number, std::move(batch));
      return fail(number + 1);
    }
    const std::lock_guard lock(mutex_);
    seconds_ += runner.seconds() - before;
    computed_.emplace(number, std::move(batch));
    changed_.notify_all();
    return true;
  }

  // In a handler, under mutex_. No batch from `number` on comes out; the first failure counts.
  bool fail(std::size_t number) {
    if (!error_ || number < failed_at_) {
      error_ = std::current_exception();
      failed_at_ = number;
    }
    changed_.notify_all();
    return false;
  }

  // Under mutex_.
  bool ended() const { return stopped_ || all_read_ || error_; }

  void stop() {
    {
      const std::lock_guard lock(mutex_);
      stopped_ = true;
      changed_.notify_all();
    }
    reader_.close();  // a thread may wait for its next clip
    for (std::thread& thread : threads_) thread.join();
    at::set_num_threads(threads_before_);
  }

  ClipReader& reader_;
  const std::size_t max_ahead_;  // batches that are read and not yet taken
  const int threads_before_;
  std::mutex reading_;
  mutable std::mutex mutex_;
  std::condition_variable changed_;
  std::map<std::size_t, ComputedBatch<Output>> computed_;  // by number
  std::size_t read_ = 0, taken_ = 0;
  bool all_read_ = false, stopped_ = false;
  std::exception_ptr error_;
  std::size_t failed_at_ = 0;  // with error_
  double seconds_ = 0;
  std::vector<std::thread> threads_;  // last: they use the members above
};

// Tells of a batch as run_batch() does.
template <class Output, class Failed, class Done>
void report_batch(ComputedBatch<Output> batch, const Failed& failed, const Done& done) {
  for (const ReadClip& clip : batch.clips) {
    if (clip.failure && !failed(clip, "read", clip.failure)) return;
  }
  auto result = batch.results.begin();
  for (const ReadClip& clip : batch.clips) {
    if (clip.failure) continue;
    report_result(clip, std::move(*result++), failed, done);
  }
}

struct BatchesRun {
  double seconds = 0;        // that the functions took, all together
  bool interrupted = false;  // a function threw Interrupted
};

// All that `reader` gives goes through the functions, one for each device. failed() and done() are
// called as by run_batch(), on this thread and in the reader's order. must_stop() is asked before
// each batch, after_batch() called behind it. Throws what BatchRunner and the reader throw.
template <class Output, class MustStop, class Failed, class Done, class AfterBatch>
BatchesRun run_batches(
    const std::vector<std::function<std::vector<Output>(const std::vector<EngineClip>&)>>&
        functions,
    std::int64_t max_frames, ClipReader& reader, const MustStop& must_stop, const Failed& failed,
    const Done& done, const AfterBatch& after_batch) {
  BatchesRun run;
  // On this thread, whose pool of LibTorch's threads is the process's.
  if (functions.size() == 1) {
    BatchRunner<Output> runner(functions.front(), max_frames);
    try {
      while (!must_stop()) {
        const std::vector<ReadClip> batch = reader.next_batch(runner.frames());
        if (batch.empty() || must_stop()) break;
        run_batch(batch, runner, failed, done);
        after_batch();
      }
    } catch (const Interrupted&) {
      run.interrupted = true;
    }
    run.seconds = runner.seconds();
    return run;
  }
  BatchWorkers<Output> workers(functions, max_frames, reader);
  try {
    while (!must_stop()) {
      std::optional<ComputedBatch<Output>> batch = workers.next();
      if (!batch || must_stop()) break;
      report_batch(std::move(*batch), failed, done);
      after_batch();
    }
  } catch (const Interrupted&) {
    run.interrupted = true;
  }
  run.seconds = workers.seconds();
  return run;
}

}  // namespace w2vbert::tool
