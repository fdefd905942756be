#include "tool/store/lines_file.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <filesystem>
#include <string>
#include <utility>
#include <vector>

#include "support/raw_safetensors.h"
#include "support/temporary_directory.h"
#include "support/wrapped_pread.h"
#include "tool/store/journal.h"
#include "w2vbert/core/error.h"

namespace {

std::atomic<int> synchronisations = 0;

}  // namespace

// NOLINTBEGIN(bugprone-reserved-identifier): the names that the linker's --wrap gives
extern "C" {
int __real_fsync(int);
int __wrap_fsync(int descriptor) {
  ++synchronisations;
  return __real_fsync(descriptor);
}
}
// NOLINTEND(bugprone-reserved-identifier)

namespace w2vbert::tool::testing {
namespace {

namespace fs = std::filesystem;

constexpr const char* kFailure =
    "{\"path\":\"a.wav\",\"stage\":\"read\",\"kind\":\"audio\",\"message\":\"x\"}\n";

TEST(OwnLines, AreToldByTheFirst) {
  using enum LinesKind;
  const std::string begin = "{\"inputs\":3,\"finished\":0,\"host\":\"h\",\"pid\":7}\n";
  const std::string entry = "{\"name\":\"a\",\"frames\":50,\"audio_seconds\":1.0}\n";
  const std::string index =
      "{\"name\":\"a\",\"shard\":\"shard-00000.safetensors\",\"frames\":50}\n";
  EXPECT_TRUE(is_own_lines(begin, kJournal));
  EXPECT_TRUE(is_own_lines(entry + begin, kJournal));
  EXPECT_TRUE(is_own_lines(begin + "torn by a lost mach", kJournal));
  EXPECT_TRUE(is_own_lines(kFailure, kFailures));
  EXPECT_TRUE(is_own_lines(index, kIndex));
  EXPECT_FALSE(is_own_lines(begin, kFailures));
  EXPECT_FALSE(is_own_lines(kFailure, kJournal));
  EXPECT_FALSE(is_own_lines(kFailure, kIndex));
  for (const LinesKind kind : {kJournal, kFailures, kIndex}) {
    EXPECT_TRUE(is_own_lines("", kind));
    EXPECT_TRUE(is_own_lines(std::string(5000, '\0'), kind));  // what a power cut leaves
    for (const char* other :
         {"Dear diary,\n", "no end", "{\"experiment\": 3, \"loss\": 0.1}\nno end", "[1, 2]\n",
          "{\"audio_filepath\": \"/in/a.wav\"}\n", "{\"name\": \"a\"}\n", "{\"path\":\"a.wav\"}\n",
          "{\"path\":\"a.wav\"}"}) {
      EXPECT_FALSE(is_own_lines(other, kind)) << other;
    }
  }
  // A kill in the middle of the first line.
  for (std::size_t bytes = 1; bytes < begin.size(); ++bytes) {
    EXPECT_TRUE(is_own_lines(begin.substr(0, bytes), kJournal)) << bytes;
    EXPECT_TRUE(is_own_lines(std::string(100, '\0') + begin.substr(0, bytes), kJournal)) << bytes;
  }
}

TEST(OwnLines, AreToldByTheFirstWholeOneWhereZerosTookTheBegin) {
  using enum LinesKind;
  const std::string entry = "{\"name\":\"a\",\"frames\":50,\"audio_seconds\":1.0}\n";
  const std::string torn = std::string(20, '\0') + entry.substr(20);
  EXPECT_TRUE(is_own_lines(torn + entry, kJournal));
  EXPECT_TRUE(is_own_lines(torn + "torn in the middle\n" + entry, kJournal));
  EXPECT_FALSE(is_own_lines(torn + entry, kFailures));
  EXPECT_FALSE(is_own_lines(torn + entry.substr(0, 30), kJournal));  // it may be anyone's
  EXPECT_FALSE(is_own_lines(std::string(20, '\0') + "Dear diary,\n{\"name\":\"a\"}\n", kJournal));
  EXPECT_FALSE(is_own_lines("Dear diary,\n" + entry, kJournal));
}

// A bit of the disk, or of the memory that it went through.
TEST(OwnLines, AreToldByAFirstLineInWhichAByteChanged) {
  using enum LinesKind;
  const std::string begin =
      "{\"inputs\":3,\"finished\":0,\"host\":\"h\",\"pid\":7,\"generation\":1}\n";
  const std::string entry = "{\"name\":\"a\",\"frames\":50,\"audio_seconds\":1.0}\n";
  const std::string index =
      "{\"name\":\"a\",\"shard\":\"shard-00000.safetensors\",\"frames\":50}\n";
  const std::vector<std::pair<std::string, LinesKind>> all = {{begin, kJournal},
                                                              {begin + entry, kJournal},
                                                              {entry + begin, kJournal},
                                                              {kFailure, kFailures},
                                                              {index + index, kIndex}};
  for (const auto& [lines, kind] : all) {
    for (std::size_t at = 0; at <= lines.find('\n'); ++at) {
      for (const char byte : {'x', '\n', '"', '\0', static_cast<char>(lines[at] ^ 1)}) {
        std::string changed = lines;
        changed[at] = byte;
        EXPECT_TRUE(is_own_lines(changed, kind)) << at << ": " << changed;
      }
    }
  }
  std::string twice = entry;
  twice[2] = twice[14] = 'x';  // in two keys: another program's
  EXPECT_FALSE(is_own_lines(twice, kJournal));
}

class LinesFile : public ::testing::Test {
 protected:
  const TemporaryDirectory directory_;
  const std::string path_ = directory_ / "failures.jsonl";
};

TEST_F(LinesFile, IsNeverOpenedThroughALinkOrInAnotherProgramsFile) {
  const std::string target = directory_ / "diary.txt";
  write_text(target, kFailure);
  fs::create_symlink(target, directory_ / "link");
  fs::create_symlink(directory_ / "nowhere", directory_ / "dangling");
  ASSERT_EQ(::mkfifo((directory_ / "fifo").c_str(), 0600), 0);
  fs::create_directory(directory_ / "folder");
  write_text(directory_ / "foreign", "Dear diary,\n");
  for (const char* name : {"link", "dangling", "fifo", "folder", "foreign"}) {
    for (const int flags : {O_RDONLY, O_RDWR | O_CREAT | O_APPEND}) {
      EXPECT_THROW(open_lines(directory_ / name, LinesKind::kFailures, flags), StorageError)
          << name;
    }
    EXPECT_THROW(check_lines(directory_ / name, LinesKind::kFailures), StorageError) << name;
    EXPECT_THROW(Journal(directory_ / name), StorageError) << name;
    FailureLines failures(directory_ / name);
    EXPECT_THROW(failures.begin(), StorageError) << name;
    EXPECT_THROW(failures.add(kFailure), StorageError) << name;
  }
  EXPECT_EQ(read_text(target), kFailure);
  EXPECT_EQ(read_text(directory_ / "foreign"), "Dear diary,\n");
  EXPECT_FALSE(fs::exists(directory_ / "nowhere"));
  EXPECT_NO_THROW(check_lines(directory_ / "none", LinesKind::kFailures));
}

// Network file systems, and signals, make of one read several.
TEST_F(LinesFile, KeepsItsWholeLinesWhereEachReadIsShort) {
  std::string lines;
  for (int i = 0; lines.size() < 10'000; ++i) {
    lines += "{\"name\":\"" + std::string(100, 'x') + std::to_string(i) +
             "\",\"frames\":1,\"audio_seconds\":1}\n";
  }
  for (const std::size_t bytes : {1, 50, 3000}) {
    write_text(path_, lines + "{\"name\":\"torn");
    wrapped_pread.max_bytes = bytes;
    { const Journal journal(path_); }
    wrapped_pread.max_bytes = static_cast<std::size_t>(-1);
    EXPECT_TRUE(read_text(path_) == lines) << bytes;
  }
}

TEST_F(LinesFile, HasTheFailuresOfOneRun) {
  {
    FailureLines failures(path_);
    failures.begin();
    failures.add(kFailure);
    failures.add(kFailure);
    EXPECT_EQ(read_text(path_), std::string(kFailure) + kFailure);  // a kill would lose none
  }
  FailureLines failures(path_);
  failures.begin();
  EXPECT_FALSE(fs::exists(path_));
  failures.synchronise();
  EXPECT_FALSE(fs::exists(path_));
  failures.add(kFailure);
  EXPECT_EQ(read_text(path_), kFailure);
}

TEST_F(LinesFile, KeepsTheFailuresOfARunThatGoesOn) {
  {
    FailureLines first(path_), second(path_);
    first.begin();
    first.add(kFailure);
    second.begin();  // beside it
    EXPECT_EQ(read_text(path_), kFailure);
    second.add(kFailure);
    first.add(kFailure);
    EXPECT_EQ(read_text(path_), std::string(kFailure) + kFailure + kFailure);
  }
  FailureLines next(path_);
  next.begin();
  EXPECT_FALSE(fs::exists(path_));
}

TEST_F(LinesFile, IsBegunAnewWhereAnotherProcessHasRemovedIt) {
  FailureLines failures(path_);
  failures.add(kFailure);
  fs::remove(path_);
  failures.add(kFailure);
  EXPECT_EQ(read_text(path_), kFailure);
}

TEST_F(LinesFile, IsSynchronisedForManyFailuresAtOnce) {
  FailureLines failures(path_);
  const int before = synchronisations;
  for (int i = 0; i < 1000; ++i) failures.add(kFailure);
  EXPECT_LE(synchronisations - before, 100);
  const int unsynchronised = synchronisations;
  failures.synchronise();
  EXPECT_GT(synchronisations, unsynchronised);
  const int all = synchronisations;
  failures.synchronise();
  EXPECT_EQ(synchronisations, all);
}

}  // namespace
}  // namespace w2vbert::tool::testing
