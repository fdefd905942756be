#include "w2vbert/core/error.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "core/text.h"

namespace w2vbert::testing {
namespace {

TEST(Error, IsOneLineOfPathKeyProblemAndExpectation) {
  EXPECT_STREQ(ConfigError("a.json", "hidden_size", "-1", "above 0").what(),
               "a.json: hidden_size: -1, expected above 0");
  EXPECT_STREQ(ConfigError("", "", "wrong").what(), "wrong");
  const CheckpointError error("p", "k", "x");
  EXPECT_EQ(error.path(), "p");
  EXPECT_EQ(error.key(), "k");
}

TEST(Error, StaysUnderTwoKilobytesWithoutControlBytes) {
  for (const char filler : {'x', '\n', '\x1b', '\xff', '\0'}) {
    const std::string long_text(100000, filler);
    const std::string what = ConfigError(long_text, long_text, long_text, long_text).what();
    EXPECT_LT(what.size(), 2048U);
    for (const char c : what) EXPECT_GE(static_cast<unsigned char>(c), 0x20U);
  }
}

TEST(QuoteBytes, KeepsTextAndEscapesTheRest) {
  EXPECT_EQ(quote_bytes("a \xC3\xA4 \xF0\x9F\x98\x80"), "a \xC3\xA4 \xF0\x9F\x98\x80");
  EXPECT_EQ(quote_bytes("\x1b[31m\x7f\n"), "\\x1b[31m\\x7f\\x0a");
  EXPECT_EQ(quote_bytes("\xC2\x9B"), "\\xc2\\x9b");  // a C1 control some terminals obey
  EXPECT_EQ(quote_bytes("\xC3("), "\\xc3(");
  EXPECT_EQ(quote_bytes(""), "");
}

TEST(QuoteBytes, CutsAtACharactersEnd) {
  EXPECT_EQ(quote_bytes("abcdef", 3), "abc...");
  EXPECT_EQ(quote_bytes("ab\xC3\xA4", 3), "ab...");
  EXPECT_EQ(quote_bytes("abc", 3), "abc");
}

TEST(Utf8CharacterLength, KnowsWhatIsACharacter) {
  EXPECT_EQ(utf8_character_length(""), 0U);
  EXPECT_EQ(utf8_character_length("a"), 1U);
  EXPECT_EQ(utf8_character_length("\xC3\xA4x"), 2U);
  EXPECT_EQ(utf8_character_length("\xE2\x82\xAC"), 3U);
  EXPECT_EQ(utf8_character_length("\xF4\x8F\xBF\xBF"), 4U);
  for (const char* wrong : {"\x80", "\xC1\xBF", "\xE0\x9F\xBF", "\xED\xA0\x80", "\xF0\x8F\xBF\xBF",
                            "\xF4\x90\x80\x80", "\xF5\x80\x80\x80", "\xE2\x82", "\xFF"}) {
    EXPECT_EQ(utf8_character_length(wrong), 0U);
  }
}

TEST(Text, SplitsAtEverySeparator) {
  using Words = std::vector<std::string>;
  EXPECT_EQ(split("a,b", ','), (Words{"a", "b"}));
  EXPECT_EQ(split(",a,,", ','), (Words{"", "a", "", ""}));
  EXPECT_EQ(split("", ','), Words{""});
}

}  // namespace
}  // namespace w2vbert::testing
