#include "tool/store/writable.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <string>

#include "support/error_message.h"
#include "support/raw_safetensors.h"
#include "support/temporary_directory.h"
#include "tool/store/made_outputs.h"
#include "tool/store/run_directory.h"
#include "w2vbert/core/error.h"

namespace w2vbert::tool::testing {
namespace {

namespace fs = std::filesystem;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

class Writable : public ::testing::Test {
 protected:
  Writable() {
    fs::create_directory(scratch_ / "model");
    write_text(config_, "{}");
    sources_.add(config_, "the model's");
  }
  OutputFile file(const std::string& path, bool is_earlier = false) const {
    return OutputFile(path, "report", sources_, [=](const std::string&) { return is_earlier; });
  }

  const TemporaryDirectory scratch_;
  const std::string config_ = scratch_ / "model/config.json";
  ProtectedFiles sources_;
};

TEST_F(Writable, IsNoFileThatIsReadHoweverItIsSpelled) {
  fs::create_directory_symlink(scratch_ / "model", scratch_ / "alias");
  fs::create_hard_link(config_, scratch_ / "other-name");
  fs::create_symlink(config_, scratch_ / "link");
  for (const std::string& path :
       {config_, scratch_ / "model/../model/./config.json", scratch_ / "alias/config.json",
        scratch_ / "other-name", scratch_ / "link"}) {
    try {
      file(path, /*is_earlier=*/true);
      ADD_FAILURE() << path;
    } catch (const UsageError& error) {
      EXPECT_EQ(error.path(), path);
      EXPECT_EQ(error.setting(), "report");
      EXPECT_THAT(error.what(), HasSubstr("is the model's as well"));
    }
  }
  EXPECT_EQ(read_text(config_), "{}");
}

TEST_F(Writable, IsNoPlaceOfAFileThatWouldBeRead) {
  sources_.add(scratch_ / "model/preprocessor_config.json", "the model's");
  fs::create_directory_symlink(scratch_ / "model", scratch_ / "alias");
  EXPECT_THROW(file(scratch_ / "alias/preprocessor_config.json"), UsageError);
  EXPECT_NO_THROW(file(scratch_ / "alias/result"));
}

TEST_F(Writable, IsAnEarlierResultOrNothing) {
  const auto put = [&](OutputFile output) {
    output.put(StagedFile(output.path(), "result"));
    EXPECT_EQ(read_text(output.path()), "result");
  };
  put(file(scratch_ / "new"));
  write_text(scratch_ / "empty", "");
  put(file(scratch_ / "empty"));
  write_text(scratch_ / "notes", "Dear diary,");
  EXPECT_THROW(file(scratch_ / "notes"), StorageError);
  EXPECT_EQ(read_text(scratch_ / "notes"), "Dear diary,");
  put(file(scratch_ / "notes", /*is_earlier=*/true));
  fs::create_symlink("nowhere", scratch_ / "dangling");
  ASSERT_EQ(::mkfifo((scratch_ / "fifo").c_str(), 0600), 0);
  for (const std::string& path :
       {scratch_ / "dangling", scratch_ / "fifo", scratch_ / "model", scratch_ / "none/file",
        scratch_ / "notes/file", scratch_ / "model/", std::string("/dev/null"), std::string()}) {
    EXPECT_THROW(file(path, /*is_earlier=*/true), StorageError) << path;
  }
}

TEST_F(Writable, IsLookedAtAgainBeforeItIsWritten) {
  OutputFile output = file(scratch_ / "result");
  write_text(scratch_ / "result", "another's");
  EXPECT_THROW(output.put(StagedFile(output.path(), "result")), StorageError);
  EXPECT_EQ(read_text(scratch_ / "result"), "another's");
  // One that another process with the same command has made.
  OutputFile again = file(scratch_ / "again", /*is_earlier=*/true);
  write_text(again.path(), "its result");
  again.put(StagedFile(again.path(), "result"));
  EXPECT_EQ(read_text(again.path()), "result");
}

// A file that is moved there between the last look and the rename.
TEST_F(Writable, IsNotTheFileThatComesWhileItIsJudged) {
  write_text(scratch_ / "result", "earlier");
  write_text(scratch_ / "mine", "Dear diary,");
  bool is_late = false;
  OutputFile output(scratch_ / "result", "report", sources_, [&](const std::string& path) {
    if (is_late) fs::rename(scratch_ / "mine", path);
    return true;
  });
  is_late = true;
  write_text(scratch_ / "result", "another earlier");
  EXPECT_THROW(output.put(StagedFile(output.path(), "result")), StorageError);
  EXPECT_EQ(read_text(scratch_ / "result"), "Dear diary,");
}

TEST_F(Writable, IsNoPlaceOfAnInput) {
  write_text(scratch_ / "a", "");
  fs::create_symlink("a", scratch_ / "link");
  fs::create_hard_link(scratch_ / "a", scratch_ / "other-name");
  fs::create_directory_symlink(scratch_.path(), scratch_ / "alias");
  const OutputPlace there(scratch_ / "a");
  for (const char* name : {"a", "link", "other-name", "alias/a", "model/../a"}) {
    EXPECT_TRUE(there.is(scratch_ / name)) << name;
  }
  for (const char* name : {"model", "missing", "model/a", "none/a"}) {
    EXPECT_FALSE(there.is(scratch_ / name)) << name;
  }
  const OutputPlace free(scratch_ / "missing");
  for (const char* name : {"missing", "alias/missing"}) EXPECT_TRUE(free.is(scratch_ / name));
  for (const char* name : {"a", "model/missing", "none/missing"}) {
    EXPECT_FALSE(free.is(scratch_ / name)) << name;
  }
}

class Directory : public ::testing::Test {
 protected:
  RunDirectory open() const { return RunDirectory(out_, made_run(), {}, sources_); }

  const TemporaryDirectory scratch_;
  const std::string out_ = scratch_ / "out";
  ProtectedFiles sources_;
};

TEST_F(Directory, LeavesOtherProgramsFilesAlone) {
  fs::create_directory(out_);
  for (const char* name : {"journal.jsonl", "failures.jsonl"}) {
    const std::string path = out_ + "/" + name;
    write_text(path, "{\"experiment\": 3}\nno end");
    EXPECT_THROW(open(), StorageError) << name;
    EXPECT_EQ(read_text(path), "{\"experiment\": 3}\nno end");
    fs::remove(path);
    write_text(scratch_ / "diary", "Dear diary,");
    fs::create_symlink(scratch_ / "diary", path);
    EXPECT_THROW(open(), StorageError) << name;
    EXPECT_EQ(read_text(scratch_ / "diary"), "Dear diary,");
    fs::remove(path);
    ASSERT_EQ(::mkfifo(path.c_str(), 0600), 0);
    EXPECT_THROW(open(), StorageError) << name;
    fs::remove(path);
  }
  const std::string index = out_ + "/shard-00000.jsonl";
  write_text(index, "{\"audio_filepath\": \"a.wav\"}\n");
  EXPECT_THROW(open().check_index(index), StorageError);
  EXPECT_THROW(open().write_index(index, "{}\n"), StorageError);
  EXPECT_EQ(read_text(index), "{\"audio_filepath\": \"a.wav\"}\n");
  fs::create_symlink(scratch_ / "diary", out_ + "/run.json");
  EXPECT_THROW(open(), StorageError);
}

TEST_F(Directory, TakesNoFileThatTheRunReads) {
  fs::create_directory(out_);
  const std::string failures = out_ + "/failures.jsonl";
  const std::string line =
      "{\"path\":\"a\",\"stage\":\"read\",\"kind\":\"audio\",\"message\":\"x\"}\n";
  write_text(scratch_ / "list", line);
  fs::create_hard_link(scratch_ / "list", failures);
  EXPECT_NO_THROW(open());  // an earlier run's
  sources_.add(scratch_ / "list", "the manifest");
  EXPECT_THROW(open(), UsageError);
  EXPECT_EQ(read_text(failures), line);
  fs::remove(failures);
  sources_.add(out_ + "/a.safetensors", "--stats");
  EXPECT_THROW((void)open().scan("a", false), UsageError);
  EXPECT_EQ(open().scan("b", false).state, OutputState::kAbsent);
}

TEST_F(Directory, LeavesNothingWhereItCannotBe) {
  std::string deep = out_;
  while (deep.size() < 6000) deep += "/a";
  EXPECT_THROW(RunDirectory(deep, made_run()), StorageError);
  EXPECT_THAT(fs::exists(out_), false);
}

}  // namespace
}  // namespace w2vbert::tool::testing
