#include "tool/store/recorded_file.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <string>
#include <utility>

#include "support/namespaces.h"
#include "support/temporary_directory.h"
#include "support/text_file.h"
#include "w2vbert/core/error.h"

namespace w2vbert::tool::testing {
namespace {

using ::testing::HasSubstr;

const Fingerprint kRun{{{"model", "a"}, {"dtype", "float32"}}};

class Recorded : public ::testing::Test {
 protected:
  RecordedFile open(const Fingerprint& run = kRun) { return {path_, "output", {}, run}; }
  void put(const std::string& text, const Fingerprint& run = kRun) { open(run).put(text); }
  template <class ErrorClass>
  std::string error_of(const Fingerprint& run = kRun) {
    try {
      open(run);
    } catch (const ErrorClass& error) {
      return error.what();
    }
    ADD_FAILURE() << "is not refused";
    return "";
  }

  TemporaryDirectory scratch_;
  std::string path_ = scratch_ / "text.jsonl";
  std::string record_ = path_ + ".run.json";
};

TEST_F(Recorded, IsReplacedByTheSameRun) {
  put("one\n");
  EXPECT_EQ(read_text(path_), "one\n");
  put("two\n");
  EXPECT_EQ(read_text(path_), "two\n");
  put("");
  put("three\n");
  EXPECT_EQ(read_text(path_), "three\n");
}

TEST_F(Recorded, OfAnotherRunStays) {
  put("one\n");
  const std::string record = read_text(record_);
  EXPECT_THAT(error_of<UsageError>({{{"model", "b"}, {"dtype", "float32"}}}),
              ::testing::AllOf(HasSubstr("model"), HasSubstr("\"a\""), HasSubstr("\"b\"")));
  EXPECT_EQ(read_text(path_), "one\n");
  EXPECT_EQ(read_text(record_), record);
  // What holds nothing is free to all.
  write_text(path_, "");
  put("b\n", {{{"model", "b"}}});
  put("b2\n", {{{"model", "b"}}});
  std::filesystem::remove(path_);
  put("one\n");
  EXPECT_EQ(read_text(path_), "one\n");
}

TEST_F(Recorded, ThatWasChangedStays) {
  put("one\n");
  write_text(path_, "onE\n");
  EXPECT_THAT(error_of<StorageError>(), HasSubstr("was changed since"));
  EXPECT_EQ(read_text(path_), "onE\n");
  write_text(path_, "one\n");
  put("two\n");
}

TEST_F(Recorded, WithoutARecordStays) {
  write_text(path_, "mine\n");
  EXPECT_THAT(error_of<StorageError>(), HasSubstr("text.jsonl.run.json"));
  EXPECT_EQ(read_text(path_), "mine\n");
  EXPECT_FALSE(std::filesystem::exists(record_));
}

TEST_F(Recorded, LeavesAnotherProgramsFileInTheRecordsPlace) {
  for (const char* const text : {"{}", "mine", R"({"fingerprint": "x", "fields": {}})"}) {
    write_text(record_, text);
    EXPECT_THAT(error_of<StorageError>(), HasSubstr("text.jsonl.run.json"));
    EXPECT_EQ(read_text(record_), text);
    EXPECT_FALSE(std::filesystem::exists(path_));
  }
  std::filesystem::remove(record_);
  std::filesystem::create_symlink(scratch_ / "elsewhere", record_);
  EXPECT_THAT(error_of<StorageError>(), HasSubstr("link"));
}

TEST_F(Recorded, IsKnownAfterACallThatEndedBetweenRecordAndFile) {
  put("one\n");
  const std::string former = scratch_ / "former";
  std::filesystem::copy(path_, former);
  put("two\n");
  std::filesystem::copy(former, path_, std::filesystem::copy_options::overwrite_existing);
  put("three\n");
  EXPECT_EQ(read_text(path_), "three\n");
  put("four\n");
  // What was there two calls ago is not known any more.
  std::filesystem::copy(former, path_, std::filesystem::copy_options::overwrite_existing);
  EXPECT_THAT(error_of<StorageError>(), HasSubstr("was changed since"));
}

TEST_F(Recorded, OfTwoAtOnceTheFirstStays) {
  put("before\n");
  RecordedFile first = open(), second = open(), third = open();
  first.put("first\n");
  EXPECT_THROW(second.put("second\n"), StorageError);
  EXPECT_NO_THROW(open());  // its record is there as well
  EXPECT_EQ(read_text(path_), "first\n");
  third.put("first\n");  // the same result
  EXPECT_EQ(read_text(path_), "first\n");
  put("after\n");
}

}  // namespace
}  // namespace w2vbert::tool::testing
