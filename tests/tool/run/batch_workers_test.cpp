#include "tool/run/batch_workers.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <filesystem>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "support/temporary_directory.h"
#include "support/write_clip.h"

namespace w2vbert::tool::testing {
namespace {

using ::testing::ElementsAreArray;
using ::testing::Gt;
using ::testing::Le;
using Function = BatchRunner<std::int64_t>::Function;  // gives a clip's frames

// Clips of which each is a batch.
class BatchWorkersTest : public ::testing::Test {
 protected:
  static constexpr std::size_t kClips = 24;

  void SetUp() override {
    for (std::size_t i = 0; i < kClips; ++i) {
      const std::string path = directory_ / ("clip-" + std::to_string(i) + ".wav");
      write_clip(path, 1600 + 320 * static_cast<int>(i), static_cast<int>(i));
      if (i % 7 == 3) std::filesystem::resize_file(path, 20);  // damaged
      inputs_.add(path);
      pending_.push_back(i);
    }
    inputs_.finish();
  }

  struct Told {
    std::vector<std::size_t> done, failed;
    BatchesRun run;
  };
  Told run(const std::vector<Function>& functions, std::size_t most = kClips) {
    ClipReader reader(inputs_, pending_, request_, 1, 100);
    Told told;
    told.run = run_batches<std::int64_t>(
        functions, /*max_frames=*/1, reader,
        [&] { return told.done.size() + told.failed.size() >= most; },
        [&](const ReadClip& clip, const char*, const std::exception_ptr&) {
          told.failed.push_back(clip.index);
          return true;
        },
        [&](const ReadClip& clip, const BatchRunner<std::int64_t>::Result& result) {
          EXPECT_EQ(result.output, clip.frames());
          told.done.push_back(clip.index);
        },
        [] {});
    return told;
  }

  TemporaryDirectory directory_;
  InputList inputs_ = InputList("/");
  std::vector<std::size_t> pending_;
  ClipRunRequest request_;
};

// Slow for some clips, so that others overtake them; counts its calls.
Function frames_of(std::atomic<int>& calls) {
  return [&calls](const std::vector<EngineClip>& clips) {
    ++calls;
    std::vector<std::int64_t> frames;
    for (const EngineClip& clip : clips) frames.push_back(clip.input_features.size(0));
    std::this_thread::sleep_for(std::chrono::milliseconds(frames.front() % 3 * 10));
    return frames;
  };
}

TEST_F(BatchWorkersTest, TellOfTheClipsInTheReadersOrderWhateverTheNumberOfDevices) {
  std::atomic<int> alone = 0;
  const Told expected = run({frames_of(alone)});
  EXPECT_EQ(expected.done.size() + expected.failed.size(), kClips);
  EXPECT_THAT(expected.failed.size(), Gt(0U));
  for (const std::size_t devices : {2, 3, 5}) {
    std::vector<std::atomic<int>> calls(devices);
    std::vector<Function> functions;
    for (auto& count : calls) functions.push_back(frames_of(count));
    const Told told = run(functions);
    EXPECT_THAT(told.done, ElementsAreArray(expected.done));
    EXPECT_THAT(told.failed, ElementsAreArray(expected.failed));
    int all = 0;
    for (const auto& count : calls) {
      EXPECT_THAT(count.load(), Gt(0)) << devices;
      all += count;
    }
    EXPECT_EQ(all, alone.load());
    EXPECT_GT(told.run.seconds, 0);
  }
}

TEST_F(BatchWorkersTest, ComputeNotFarAhead) {
  std::atomic<int> calls = 0;
  const Told told = run({frames_of(calls), frames_of(calls)}, /*most=*/4);
  EXPECT_EQ(told.done.size() + told.failed.size(), 4U);
  EXPECT_THAT(calls.load(), Le(4 + 1 + 2 * 2));
}

TEST_F(BatchWorkersTest, EndWithWhatADeviceThrowsOnceTheBatchesBeforeAreTold) {
  std::atomic<int> calls = 0;
  const Function good = frames_of(calls);
  for (const bool interrupted : {true, false}) {
    const Function bad = [&](const std::vector<EngineClip>& clips) {
      if (clips.front().input_features.size(0) > 25) {
        if (interrupted) throw Interrupted();
        throw CheckpointError("model", "", "has changed");
      }
      return good(clips);
    };
    if (interrupted) {
      const Told told = run({bad, bad});
      EXPECT_TRUE(told.run.interrupted);
      EXPECT_THAT(told.done.size(), Gt(0U));
      for (std::size_t i = 1; i < told.done.size(); ++i) EXPECT_LT(told.done[i - 1], told.done[i]);
    } else {
      EXPECT_THROW(run({bad, bad}), CheckpointError);
    }
  }
}

TEST_F(BatchWorkersTest, WaitForASlowDeviceWhereAnotherOneFailsForALaterBatch) {
  std::atomic<int> calls = 0;
  // The first batch takes long, and the second one fails at once.
  const Function function = [&](const std::vector<EngineClip>& clips) -> std::vector<std::int64_t> {
    if (calls++ > 0) throw CheckpointError("model", "", "has changed");
    std::this_thread::sleep_for(std::chrono::milliseconds(300));
    return {clips.front().input_features.size(0)};
  };
  std::vector<std::size_t> done;
  ClipReader reader(inputs_, pending_, request_, 1, 100);
  EXPECT_THROW(
      run_batches<std::int64_t>(
          std::vector<Function>{function, function}, /*max_frames=*/1, reader, [] { return false; },
          [](const ReadClip&, const char*, const std::exception_ptr&) { return true; },
          [&](const ReadClip& clip, const BatchRunner<std::int64_t>::Result&) {
            done.push_back(clip.index);
          },
          [] {}),
      CheckpointError);
  EXPECT_THAT(done, ElementsAreArray({0U}));
}

TEST_F(BatchWorkersTest, EndWithWhatTheOneWhoIsToldThrows) {
  std::atomic<int> calls = 0;
  const Function good = frames_of(calls);
  const int threads = at::get_num_threads();
  ClipReader reader(inputs_, pending_, request_, 1, 100);
  EXPECT_THROW(
      run_batches<std::int64_t>(
          std::vector<Function>{good, good}, /*max_frames=*/1, reader, [] { return false; },
          [](const ReadClip&, const char*, const std::exception_ptr&) { return true; },
          [](const ReadClip&, const BatchRunner<std::int64_t>::Result&) {
            throw std::runtime_error("disk full");
          },
          [] {}),
      std::runtime_error);
  EXPECT_THAT(calls.load(), Le(5));
  EXPECT_EQ(at::get_num_threads(), threads);
}

TEST_F(BatchWorkersTest, TellOfAClipThatADeviceFailsFor) {
  const Function fails = [](const std::vector<EngineClip>& clips) -> std::vector<std::int64_t> {
    if (clips.front().input_features.size(0) % 2 == 0) throw std::runtime_error("even");
    return {clips.front().input_features.size(0)};
  };
  const Told alone = run({fails}), both = run({fails, fails});
  EXPECT_THAT(both.done, ElementsAreArray(alone.done));
  EXPECT_THAT(both.failed, ElementsAreArray(alone.failed));
}

}  // namespace
}  // namespace w2vbert::tool::testing
