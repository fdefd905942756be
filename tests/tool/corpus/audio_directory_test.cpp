#include "tool/corpus/audio_directory.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "support/error_message.h"
#include "support/temporary_directory.h"
#include "w2vbert/core/error.h"

namespace w2vbert::tool::testing {
namespace {

namespace fs = std::filesystem;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;

class AudioDirectory : public ::testing::Test {
 protected:
  void make(const std::string& file) const {
    fs::create_directories(fs::path(scratch_ / file).parent_path());
    std::ofstream(scratch_ / file) << "x";
  }
  void link(const std::string& to, const std::string& name) const {
    fs::create_directories(fs::path(scratch_ / name).parent_path());
    fs::create_symlink(to, scratch_ / name);
  }
  // What is found in the directory `name`, as paths below the scratch directory.
  std::vector<std::string> found_in(const std::string& name) {
    InputList list("/");
    read_audio_directory(scratch_ / name, list);
    std::vector<std::string> paths;
    for (std::size_t i = 0; i < list.size(); ++i) {
      paths.push_back(list.path(i).substr(scratch_.path().size() + 1));
    }
    notes_ = list.notes();
    bad_rows_ = list.bad_rows();
    return paths;
  }
  std::string error_of(const std::string& name) {
    return message_of<UsageError>([&] { found_in(name); });
  }

  TemporaryDirectory scratch_;
  std::vector<std::string> notes_;  // of the last list
  std::vector<BadRow> bad_rows_;
};

TEST_F(AudioDirectory, HoldsTheAudioFilesInAndBelowIt) {
  for (const char* file : {"in/b/2.FLAC", "in/b/1.wav", "in/a.opus", "in/b-c.wav", "in/\xFF.wav"}) {
    make(file);
  }
  EXPECT_THAT(found_in("in"),
              ElementsAre("in/a.opus", "in/b-c.wav", "in/b/1.wav", "in/b/2.FLAC", "in/\xFF.wav"));
  EXPECT_THAT(notes_, IsEmpty());
  EXPECT_THAT(bad_rows_, IsEmpty());
}

TEST_F(AudioDirectory, TellsWhatItPassesOverByEndingAndCount) {
  for (const char* file :
       {"in/a.wav", "in/b.txt", "in/x/c.TXT", "in/d.m4v", "in/README", "in/.e.wav", "in/.git/f.wav",
        "in/g.", "in/h.an-ending-that-is-a-name"}) {
    make(file);
  }
  link("nowhere", "in/i");
  EXPECT_THAT(found_in("in"), ElementsAre("in/a.wav"));
  EXPECT_THAT(notes_, ElementsAre(scratch_ / "in" +
                                  ": passed over: 3 without an ending, 2 .txt, 2 hidden, 1 .m4v, "
                                  "1 dangling"));
}

TEST_F(AudioDirectory, KeepsItsNoteShort) {
  make("in/a.wav");
  for (int i = 0; i < 40; ++i) make("in/x." + std::to_string(i));
  make("in/x.\x1b[2J");
  (void)found_in("in");
  ASSERT_THAT(notes_, ElementsAre(HasSubstr(", 29 of other kinds")));
  EXPECT_THAT(notes_.front(), Not(HasSubstr("\x1b")));
}

TEST_F(AudioDirectory, FollowsLinks) {
  make("in/a.wav");
  make("elsewhere/b.wav");
  make("elsewhere/deeper/c.wav");
  make("elsewhere/d.wav");
  link("../elsewhere", "in/more");
  link("../elsewhere/d.wav", "in/e.wav");
  EXPECT_THAT(found_in("in"), ElementsAre("in/a.wav", "in/e.wav", "in/more/b.wav", "in/more/d.wav",
                                          "in/more/deeper/c.wav"));
  link("in", "itself");
  EXPECT_THAT(found_in("itself"), ElementsAre("itself/a.wav", "itself/e.wav", "itself/more/b.wav",
                                              "itself/more/d.wav", "itself/more/deeper/c.wav"));
}

TEST_F(AudioDirectory, EntersEachDirectoryOnceByItsOwnPath) {
  make("in/b/a.wav");
  link("b", "in/a");  // before b in the order of names
  link("..", "in/b/up");
  link(".", "in/b/here");
  link(scratch_ / "in", "in/b/top");
  make("elsewhere/c.wav");
  link("../elsewhere", "in/y");
  link("../elsewhere", "in/x");
  link("../in", "elsewhere/back");
  EXPECT_THAT(found_in("in"), ElementsAre("in/b/a.wav", "in/x/c.wav"));
}

TEST_F(AudioDirectory, LosesAFileThatCanNameNoOutputAndNoOther) {
  const std::string long_name = std::string(250, 'x') + ".wav";
  for (const std::string& file : {std::string("in/b/a.wav"), "in/b/" + long_name,
                                  std::string("in/b/new\nline.wav"), std::string("in/b/z.wav")}) {
    make(file);
  }
  EXPECT_THAT(found_in("in"), ElementsAre("in/b/a.wav", "in/b/z.wav"));
  ASSERT_EQ(bad_rows_.size(), 2U);
  EXPECT_EQ(bad_rows_[0].path, scratch_ / "in/b/new\nline.wav");
  EXPECT_THAT(bad_rows_[0].problem, HasSubstr("holds a line break"));
  EXPECT_EQ(bad_rows_[1].path, scratch_ / "in/b/" + long_name);
  EXPECT_THAT(bad_rows_[1].problem, HasSubstr("262 bytes, expected at most 255"));
}

// They are inputs that fail, and so are reported.
TEST_F(AudioDirectory, HoldsWhatHasAnAudioFilesNameAndIsNone) {
  make("in/a.wav");
  make("in/folder.wav/b.wav");
  link("nowhere", "in/dangling.wav");
  link("loop.wav", "in/loop.wav");
  ASSERT_EQ(::mkfifo((scratch_ / "in/fifo.wav").c_str(), 0600), 0);
  EXPECT_THAT(found_in("in"), ElementsAre("in/a.wav", "in/dangling.wav", "in/fifo.wav",
                                          "in/folder.wav/b.wav", "in/loop.wav"));
}

TEST_F(AudioDirectory, ReportsFoldersThatCannotBeListed) {
  if (::geteuid() == 0) {
    // Root may list everything; no path is too long for it but one.
    make("in/a.wav");
    const std::string name(250, 'x');
    const int top = ::open(scratch_.path().c_str(), O_RDONLY | O_DIRECTORY);
    int at = ::openat(top, "in", O_RDONLY | O_DIRECTORY);
    for (int depth = 0; depth < 20; ++depth) {
      ASSERT_EQ(::mkdirat(at, name.c_str(), 0700), 0);
      const int next = ::openat(at, name.c_str(), O_RDONLY | O_DIRECTORY);
      ::close(at);
      at = next;
    }
    ::close(at);
    ::close(top);
  } else {
    make("in/a.wav");
    make("in/closed/b.wav");
    fs::permissions(scratch_ / "in/closed", fs::perms::none);
  }
  EXPECT_THAT(found_in("in"), ElementsAre("in/a.wav"));
  ASSERT_EQ(bad_rows_.size(), 1U);
  EXPECT_THAT(bad_rows_[0].path, HasSubstr(scratch_ / "in/"));
  EXPECT_EQ(bad_rows_[0].place, "");
  EXPECT_THAT(bad_rows_[0].problem, HasSubstr("cannot be listed: "));
  fs::remove(scratch_ / "in/a.wav");
  EXPECT_THAT(error_of("in"), HasSubstr("cannot be listed: "));
  fs::permissions(scratch_ / "in", fs::perms::all);
  std::error_code ignored;
  fs::permissions(scratch_ / "in/closed", fs::perms::all, ignored);
}

TEST_F(AudioDirectory, RefusesADirectoryWithoutAudioAndSaysWhatIsThere) {
  make("in/b.m4v");
  EXPECT_THAT(error_of("in"), HasSubstr("holds no audio files (passed over: 1 .m4v)"));
  fs::create_directories(scratch_ / "empty");
  EXPECT_THAT(error_of("empty"), HasSubstr("holds no audio files, expected"));
  EXPECT_THAT(error_of("missing"), HasSubstr("missing: cannot be listed: No such file"));
}

}  // namespace
}  // namespace w2vbert::tool::testing
