#include "tool/corpus/line_file.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <string_view>
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

std::vector<std::string> lines_of(const std::string& path, std::size_t max_bytes) {
  std::vector<std::string> lines;
  read_lines(path, "lines", max_bytes, [&](std::string_view line) { lines.emplace_back(line); });
  return lines;
}

TEST(ReadLines, LeavesOutTheirEnds) {
  const TemporaryDirectory directory;
  const std::string path = directory / "lines";
  write_text(path, "\xEF\xBB\xBFone\r\n\n two \nthree");
  EXPECT_THAT(lines_of(path, 100), ElementsAre("one", "", " two ", "three"));
  write_text(path, "");
  EXPECT_THAT(lines_of(path, 100), IsEmpty());
}

TEST(ReadLines, TakesWhatALargerFileOfLinesHas) {
  const TemporaryDirectory directory;
  const std::string path = directory / "lines";
  std::string text;
  for (int i = 0; i < 20'000; ++i) text += "line " + std::to_string(i) + "\n";
  write_text(path, text);
  const std::vector<std::string> lines = lines_of(path, text.size());
  ASSERT_THAT(lines, SizeIs(20'000));
  EXPECT_EQ(lines.back(), "line 19999");
  EXPECT_THAT(message_of<UsageError>([&] { lines_of(path, text.size() - 1); }),
              HasSubstr("has more than " + std::to_string(text.size() - 1) + " bytes"));
}

}  // namespace
}  // namespace w2vbert::tool::testing
