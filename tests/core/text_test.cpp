#include "core/text.h"

#include <gtest/gtest.h>

#include <cstdint>
#include <string>

#include "core/parse_number.h"

namespace w2vbert::testing {
namespace {

std::string utf8(std::uint32_t code_point) {
  std::string text;
  append_utf8(text, code_point);
  return text;
}

TEST(Text, EveryScalarValueBecomesOneValidCharacter) {
  std::string last;
  for (std::uint32_t code_point = 0; code_point <= 0x10FFFF; ++code_point) {
    if (code_point == 0xD800) code_point = 0xE000;  // surrogates are not scalar values
    const std::string text = utf8(code_point);
    ASSERT_EQ(utf8_character_length(text), text.size()) << code_point;
    // UTF-8 sorts as the code points do, shorter characters first.
    ASSERT_TRUE(code_point == 0 || text > last) << code_point;
    last = text;
  }
  EXPECT_EQ(utf8(0x7F).size(), 1U);
  EXPECT_EQ(utf8(0x80), "\xC2\x80");
  EXPECT_EQ(utf8(0x20AC), "\xE2\x82\xAC");
  EXPECT_EQ(utf8(0x1F600), "\xF0\x9F\x98\x80");
}

TEST(Text, IsQuotedAndCutAtACharactersEnd) {
  EXPECT_EQ(in_quotes("a\n\xC3\xA4\xFF"), "\"a\\x0a\xC3\xA4\\xff\"");
  EXPECT_EQ(in_quotes("\xC3\xA4\xC3\xA4", 3), "\"\xC3\xA4...\"");
}

TEST(Text, BytesBecomeTwoDigitsEach) {
  const unsigned char bytes[] = {0x00, 0x0F, 0xA0, 0xFF};
  EXPECT_EQ(hex_text(bytes), "000fa0ff");
  EXPECT_EQ(hex_text({}), "");
}

TEST(ParseNumber, TakesWholeTextsOnly) {
  EXPECT_EQ(parse_number<std::int64_t>("-12"), -12);
  EXPECT_EQ(parse_number<std::uint64_t>("18446744073709551615"), 18446744073709551615U);
  EXPECT_EQ(parse_number<double>("1e-5"), 1e-5);
  for (const char* text : {"", " 1", "1 ", "+1", "1x", "0x1", "1.0", "-", "9223372036854775808"}) {
    EXPECT_EQ(parse_number<std::int64_t>(text), std::nullopt) << text;
  }
  EXPECT_EQ(parse_number<std::uint64_t>("-1"), std::nullopt);
  for (const char* text : {"", "nan", "inf", "-inf", "1e400", "1,5", "0x1p3"}) {
    EXPECT_EQ(parse_number<double>(text), std::nullopt) << text;
  }
}

}  // namespace
}  // namespace w2vbert::testing
