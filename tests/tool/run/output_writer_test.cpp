#include "tool/run/output_writer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <functional>
#include <mutex>
#include <new>
#include <stdexcept>
#include <string>
#include <system_error>
#include <thread>
#include <vector>

#include "support/thread_limit.h"
#include "w2vbert/core/error.h"

namespace w2vbert::tool::testing {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::UnorderedElementsAre;

// Outputs that remember what they were given.
class Recorder : public Outputs {
 public:
  explicit Recorder(int threads) : threads_(threads) {}

  ScanResult scan(const Partition&, bool) override { return {}; }
  std::size_t clean() override { return 0; }
  std::string path_of(std::size_t) const override { return ""; }
  int max_threads() const override { return threads_; }
  void write(Output& output) override {
    if (before_writing) before_writing(output.index);
    const std::lock_guard lock(mutex_);
    written.push_back(output.index);
  }
  void skip(std::size_t index) override {
    const std::lock_guard lock(mutex_);
    skipped.push_back(index);
  }
  void finish() override {
    const std::lock_guard lock(mutex_);
    ++finished;
    written_at_the_end = written.size();
  }

  std::size_t count() {
    const std::lock_guard lock(mutex_);
    return written.size();
  }

  std::function<void(std::size_t index)> before_writing;
  std::vector<std::size_t> written, skipped;
  int finished = 0;
  std::size_t written_at_the_end = 0;

 private:
  const int threads_;
  std::mutex mutex_;
};

Output output_of(std::size_t index) {
  Output output;
  output.index = index;
  output.report.name = std::to_string(index);
  return output;
}

std::vector<std::string> names_of(const std::vector<WrittenOutput>& written) {
  std::vector<std::string> names;
  for (const WrittenOutput& one : written) names.push_back(one.report.name);
  return names;
}

TEST(OutputWriter, WritesAllAndFinishesOnceAsTheLast) {
  for (const int threads : {1, 3}) {
    Recorder outputs(threads);
    OutputWriter writer(outputs);
    std::vector<std::string> expected;
    for (std::size_t i = 0; i < 50; ++i) {
      writer.add(output_of(i));
      expected.push_back(std::to_string(i));
    }
    writer.skip(60);
    writer.finish();
    EXPECT_EQ(names_of(writer.take_written()), expected);
    EXPECT_THAT(writer.take_written(), IsEmpty());
    EXPECT_THAT(outputs.skipped, ElementsAre(60));
    EXPECT_EQ(outputs.finished, 1);
    EXPECT_EQ(outputs.written_at_the_end, 50U);
  }
}

// Outputs of a few bytes are more than their tensors.
TEST(OutputWriter, LetsAThousandOutputsWaitHoweverSmallTheyAre) {
  Recorder outputs(2);
  std::atomic<bool> open{false};
  outputs.before_writing = [&](std::size_t) {
    while (!open) std::this_thread::yield();
  };
  OutputWriter writer(outputs);
  std::atomic<std::size_t> added{0};
  std::thread adding([&] {
    for (std::size_t i = 0; i < 20'000; ++i) {
      writer.add(output_of(i));
      ++added;
    }
  });
  // Until it waits: on a machine that is slow to add them, some more could have been added.
  for (std::size_t before = 20'001; before != added;) {
    before = added;
    std::this_thread::sleep_for(std::chrono::milliseconds(200));
  }
  EXPECT_LE(added, 1024U + 2 + 1);
  open = true;
  adding.join();
  writer.finish();
  EXPECT_EQ(outputs.count(), 20'000U);
}

TEST(OutputWriter, ReportsInTheOrderOfAddingUpToTheFirstThatIsNotWritten) {
  Recorder outputs(2);
  std::mutex mutex;
  std::condition_variable changed;
  bool open = false;
  outputs.before_writing = [&](std::size_t index) {
    std::unique_lock lock(mutex);
    if (index == 7) changed.wait(lock, [&] { return open; });
  };
  OutputWriter writer(outputs);
  for (const std::size_t index : {5, 7, 6, 4}) writer.add(output_of(index));
  while (outputs.count() < 3) std::this_thread::yield();  // all but 7
  std::vector<std::string> names = names_of(writer.take_written());
  EXPECT_THAT(names, ElementsAre("5"));
  {
    const std::lock_guard lock(mutex);
    open = true;
  }
  changed.notify_all();
  writer.finish();
  names = names_of(writer.take_written());
  EXPECT_THAT(names, ElementsAre("7", "6", "4"));
}

TEST(OutputWriter, ReportsAFailureOfOneOutputAndGoesOn) {
  Recorder outputs(1);
  outputs.before_writing = [](std::size_t index) {
    if (index == 1) throw std::runtime_error("too large");
  };
  OutputWriter writer(outputs);
  for (const std::size_t index : {0, 1, 2}) writer.add(output_of(index));
  writer.finish();
  const auto written = writer.take_written();
  ASSERT_EQ(written.size(), 3U);
  EXPECT_FALSE(written[0].failure);
  EXPECT_TRUE(written[1].failure);
  EXPECT_FALSE(written[2].failure);
  EXPECT_THAT(outputs.written, ElementsAre(0, 2));
  EXPECT_THAT(outputs.skipped, ElementsAre(1));  // as if it had never been computed
  EXPECT_EQ(outputs.finished, 1);
}

// `Failure` is what comes of it.
template <class Failure, class Thrown>
void expect_the_end(const Thrown& thrown) {
  Recorder outputs(2);
  outputs.before_writing = [&](std::size_t index) {
    // NOLINTNEXTLINE(bugprone-std-exception-baseclass): no handler of errors may take WritingEnded
    if (index == 1) throw thrown;
  };
  OutputWriter writer(outputs);
  writer.add(output_of(1));
  // Sooner or later each call says so.
  const auto add_until_it_is_seen = [&] {
    for (int i = 0; i < 100'000; ++i) {
      writer.add(output_of(2));
      std::this_thread::sleep_for(std::chrono::microseconds(100));
    }
  };
  EXPECT_THROW(add_until_it_is_seen(), Failure);
  EXPECT_THROW(writer.skip(3), Failure);
  EXPECT_THROW(writer.take_written(), Failure);
  writer.finish();
  EXPECT_EQ(outputs.finished, 0);
  EXPECT_THAT(outputs.skipped, IsEmpty());
}

TEST(OutputWriter, EndsWithTheFirstErrorOfThePlaceOrTheRequest) {
  expect_the_end<StorageError>(StorageError("out", "", "is full"));
  expect_the_end<UsageError>(UsageError("out", "", "is full"));
}

TEST(OutputWriter, EndsWithWhatBrokeAHalfWrittenOutput) {
  expect_the_end<std::bad_alloc>(WritingEnded{std::make_exception_ptr(std::bad_alloc())});
}

TEST(OutputWriter, EndsTheThreadsThatItHasWhenAnotherOneCannotStart) {
  for (const int threads : {0, 1, 2}) {
    Recorder outputs(3);
    const ThreadLimit limit(threads);
    EXPECT_THROW(OutputWriter{outputs}, std::system_error) << threads;
    EXPECT_EQ(outputs.finished, 0);
  }
}

TEST(OutputWriter, FinishesWhatItWasGivenWhenItGoes) {
  Recorder outputs(2);
  {
    OutputWriter writer(outputs);
    for (const std::size_t index : {3, 1}) writer.add(output_of(index));
  }
  EXPECT_THAT(outputs.written, UnorderedElementsAre(3, 1));
  EXPECT_EQ(outputs.finished, 1);
}

}  // namespace
}  // namespace w2vbert::tool::testing
