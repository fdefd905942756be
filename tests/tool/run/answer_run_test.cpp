#include "tool/run/answer_run.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <cstddef>
#include <functional>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "support/temporary_directory.h"
#include "support/write_clip.h"
#include "w2vbert/core/error.h"

namespace w2vbert::tool::testing {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

// Five clips of one batch.
class AnswerRun : public ::testing::Test {
 protected:
  AnswerRun() {
    for (int i = 0; i < 5; ++i) {
      const std::string path = directory_ / ("clip-" + std::to_string(i) + ".wav");
      write_clip(path, 1600, i);
      inputs_.add(path);
    }
    inputs_.finish();
    request_.batch_frames = 1'000;
  }

  AnswerSummary run(const Answering& answer) {
    const AnswerFunction zeros = [](const std::vector<EngineClip>& clips) {
      return std::vector<WindowTensors>(clips.size(), {at::zeros({1})});
    };
    AnswerEvents events;
    events.stop_requested = [&] { return stop_.load(); };
    events.failed = [&](const ClipFailure&, std::optional<std::size_t> index) {
      failed_.push_back(index.value());
    };
    const auto load = [&] {
      std::this_thread::sleep_for(std::chrono::milliseconds(500));  // all are read by then
      return std::vector<AnswerFunction>{zeros};
    };
    return answer_clips(inputs_, request_, load, answer, events);
  }

  TemporaryDirectory directory_;
  InputList inputs_{"/", OutputNames::kUnneeded};
  AnswerRunRequest request_;
  std::atomic<bool> stop_ = false;
  std::vector<std::size_t> told_, failed_;
};

TEST_F(AnswerRun, TellsOfEachInTheListsOrder) {
  const AnswerSummary summary = run([&](const AnsweredClip& clip, const WindowTensors&) {
    if (clip.index == 3) throw UsageError("", "text", "is too long");
    return [&, index = clip.index] { told_.push_back(index); };
  });
  EXPECT_THAT(told_, ElementsAre(0, 1, 2, 4));
  EXPECT_THAT(failed_, ElementsAre(3));
  EXPECT_EQ(summary.done, 4U);
  EXPECT_EQ(summary.failed, 1U);
  EXPECT_FALSE(summary.stopped);
}

TEST_F(AnswerRun, EndsBetweenTwoAnswersOfABatch) {
  const int threads = at::get_num_threads();
  at::set_num_threads(1);
  std::size_t begun = 0;
  const AnswerSummary summary = run([&](const AnsweredClip& clip, const WindowTensors&) {
    ++begun;
    stop_ = clip.index == 1;
    return [&, index = clip.index] { told_.push_back(index); };
  });
  at::set_num_threads(threads);
  EXPECT_EQ(begun, 2U);
  EXPECT_THAT(told_, ElementsAre(0, 1));
  EXPECT_THAT(failed_, IsEmpty());
  EXPECT_EQ(summary.done, 2U);
  EXPECT_TRUE(summary.stopped);
}

}  // namespace
}  // namespace w2vbert::tool::testing
