#include "tool/corpus/line_file.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "support/error_message.h"
#include "support/temporary_directory.h"
#include "support/text_file.h"
#include "w2vbert/core/error.h"

namespace w2vbert::tool::testing {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

TEST(ReadLines, LeavesOutTheirEnds) {
  const TemporaryDirectory directory;
  const std::string path = directory / "lines";
  write_text(path, "\xEF\xBB\xBFone\r\n\n two \nthree");
  EXPECT_THAT(read_lines(path, "lines", 100), ElementsAre("one", "", " two ", "three"));
  write_text(path, "");
  EXPECT_THAT(read_lines(path, "lines", 100), IsEmpty());
}

TEST(ReadLines, TakesWhatALargerFileOfLinesHas) {
  const TemporaryDirectory directory;
  const std::string path = directory / "lines";
  std::string text;
  for (int i = 0; i < 20'000; ++i) text += "line " + std::to_string(i) + "\n";
  write_text(path, text);
  const std::vector<std::string> lines = read_lines(path, "lines", text.size());
  ASSERT_THAT(lines, SizeIs(20'000));
  EXPECT_EQ(lines.back(), "line 19999");
  EXPECT_THAT(message_of<UsageError>([&] { read_lines(path, "lines", text.size() - 1); }),
              HasSubstr("has more than " + std::to_string(text.size() - 1) + " bytes"));
}

}  // namespace
}  // namespace w2vbert::tool::testing
