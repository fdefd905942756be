#include "core/file_lock.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/file.h>
#include <sys/stat.h>

#include <atomic>
#include <chrono>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "core/stopwatch.h"
#include "support/temporary_directory.h"
#include "support/text_file.h"
#include "w2vbert/core/error.h"

namespace w2vbert::testing {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

class LockOfAFile : public ::testing::Test {
 protected:
  void SetUp() override { write_text(path_, "x"); }
  const TemporaryDirectory directory_;
  const std::string path_ = directory_ / "run.json";
  std::vector<std::string> told_;
  std::atomic<bool> end_asked_ = false;
  const LockWaitEvents events_{[this](const std::string& path) { told_.push_back(path); },
                               [this] { return end_asked_.load(); }};
};

TEST_F(LockOfAFile, IsWaitedForAndSaysSoOnce) {
  std::optional<FileLock> first(path_);
  EXPECT_TRUE(first->is_held());
  std::thread owner([&] {
    std::this_thread::sleep_for(std::chrono::milliseconds(2500));
    first.reset();
  });
  EXPECT_TRUE(FileLock(path_).is_held());
  owner.join();
  EXPECT_THAT(told_, ElementsAre(path_));
  EXPECT_TRUE(FileLock(path_).is_held());
  EXPECT_THAT(told_, ElementsAre(path_));
}

TEST_F(LockOfAFile, IsNoLongerWaitedForWhereTheEndIsAsked) {
  const FileLock first(path_);
  end_asked_ = true;
  const Stopwatch watch;
  EXPECT_THROW(FileLock{path_}, LockWaitEnded);
  EXPECT_LT(watch.seconds(), 5.0);
  EXPECT_THAT(told_, IsEmpty());
}

TEST_F(LockOfAFile, MayBeSharedAndIsThenNotExclusive) {
  const Descriptor one(::open(path_.c_str(), O_RDONLY)), other(::open(path_.c_str(), O_RDONLY));
  EXPECT_EQ(lock_shared(one.number(), path_), 0);
  EXPECT_EQ(lock_shared(other.number(), path_), 0);
  end_asked_ = true;
  EXPECT_THROW(FileLock{path_}, LockWaitEnded);
}

TEST_F(LockOfAFile, DoesNotWaitForTheOtherEndOfAPipe) {
  const std::string pipe = directory_ / "pipe";
  ASSERT_EQ(::mkfifo(pipe.c_str(), 0400), 0);
  EXPECT_TRUE(FileLock(pipe).is_held());
  EXPECT_THROW(FileLock(directory_ / "none"), StorageError);
}

}  // namespace
}  // namespace w2vbert::testing
