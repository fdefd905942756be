#include "tool/store/fingerprint.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "support/temporary_directory.h"
#include "support/text_file.h"
#include "tool/store/run_directory.h"
#include "w2vbert/core/error.h"

namespace w2vbert::tool::testing {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

const Fingerprint kRun{{{"model", "abc"}, {"dtype", "float32"}}};

std::string difference_to(const Fingerprint& other) {
  try {
    check_same_run(kRun, other, "out/run.json");
  } catch (const UsageError& error) {
    return error.what();
  }
  return "the same";
}

TEST(Fingerprint, SurvivesItsRecord) {
  const Fingerprint read = parse_run_record(run_record(kRun), "run.json");
  EXPECT_EQ(read.fields, kRun.fields);
  EXPECT_EQ(read.digest(), kRun.digest());
}

TEST(Fingerprint, KeepsItsNotesOutOfWhatIsCompared) {
  Fingerprint noted = kRun;
  noted.notes = {{"hf_version", "5.24"}};
  EXPECT_EQ(noted.digest(), kRun.digest());
  EXPECT_EQ(difference_to(noted), "the same");
  EXPECT_THAT(run_record(noted), HasSubstr("\"hf_version\": \"5.24\""));
  EXPECT_EQ(run_record(parse_run_record(run_record(noted), "run.json")), run_record(noted));
}

TEST(Fingerprint, ChangesWithEveryNameAndValue) {
  const Fingerprint moved{{{"model", "abcd"}, {"type", "float32"}}};
  EXPECT_NE(Fingerprint({{{"model", "abd"}, {"dtype", "float32"}}}).digest(), kRun.digest());
  EXPECT_NE(moved.digest(), kRun.digest());
  EXPECT_NE(Fingerprint({{{"model", "abc"}}}).digest(), kRun.digest());
}

TEST(Fingerprint, NamesTheFieldThatDiffersAndBothValues) {
  EXPECT_EQ(difference_to(kRun), "the same");
  EXPECT_THAT(difference_to({{{"model", "abc"}, {"dtype", "bfloat16"}}}),
              AllOf(HasSubstr("out/run.json: dtype: "), HasSubstr("\"float32\""),
                    HasSubstr("\"bfloat16\"")));
  EXPECT_THAT(difference_to({{{"model", "abc"}}}), HasSubstr("dtype"));
  EXPECT_THAT(difference_to({{{"model", "abc"}, {"dtype", "float32"}, {"states", "1"}}}),
              AllOf(HasSubstr("states"), HasSubstr("made with the default")));
}

TEST(Fingerprint, IsTheSameWhereADefaultIsSpeltOut) {
  const Fingerprint asked{{{"model", "abc"}}, {{"dtype", "float32"}}};
  EXPECT_EQ(difference_to(asked), "the same");
  EXPECT_THAT(difference_to({{{"model", "abc"}}, {{"dtype", "bfloat16"}}}),
              HasSubstr("asks for \"bfloat16\""));
  EXPECT_EQ(asked.digest(), Fingerprint({{{"model", "abc"}}}).digest());
  // The outputs there keep the fingerprint that they have.
  const TemporaryDirectory scratch;
  write_text(scratch / "run.json", run_record(kRun));
  EXPECT_EQ(RunDirectory(scratch.path(), asked).digest(), kRun.digest());
}

TEST(Fingerprint, RefusesWhatIsNoRecord) {
  for (const char* text :
       {"", "{}", "[]", "null", R"({"fingerprint": "x", "fields": {}})",
        R"({"fingerprint": 1, "fields": {}})", R"({"fingerprint": "x", "fields": {"a": 1}})"}) {
    EXPECT_THROW(parse_run_record(text, "run.json"), UsageError) << text;
  }
}

}  // namespace
}  // namespace w2vbert::tool::testing
