#include "tool/formats/timed_text.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <limits>
#include <string>
#include <vector>

namespace w2vbert::tool::testing {
namespace {

using ::testing::ElementsAre;
using ::testing::Field;
using ::testing::HasSubstr;
using ::testing::Not;
using Words = std::vector<TimedText>;

constexpr double kNan = std::numeric_limits<double>::quiet_NaN();
constexpr double kInfinity = std::numeric_limits<double>::infinity();

TEST(Cues, AreWordsAsFarAsTheyFitAndGoTogether) {
  const Words words = {{"one", 0, 0.2}, {"two", 0.3, 0.5}, {"three", 0.6, 0.8}, {"four", 2, 2.2}};
  const auto texts_of = [&](const CueLimits& limits) {
    std::vector<std::string> texts;
    for (const TimedText& cue : cues_of(words, limits)) texts.push_back(cue.text);
    return texts;
  };
  EXPECT_THAT(texts_of({}), ElementsAre("one two three", "four"));
  EXPECT_THAT(texts_of({.max_gap_seconds = 2}), ElementsAre("one two three four"));
  EXPECT_THAT(texts_of({.max_characters = 7}), ElementsAre("one two", "three", "four"));
  EXPECT_THAT(texts_of({.max_characters = 6}), ElementsAre("one", "two", "three", "four"));
  EXPECT_THAT(texts_of({.max_seconds = 0.5}), ElementsAre("one two", "three", "four"));
  EXPECT_DOUBLE_EQ(cues_of(words, {}).front().end, 0.8);
}

TEST(Cues, CountCharactersAndLeaveOutBlanks) {
  const Words words = {{"\u00E9\u00E9\u00E9", 0, 0.1}, {"\n", 0.1, 0.2}, {"\u65E5", 0.2, 0.3}};
  EXPECT_THAT(cues_of(words, {.max_characters = 5}),
              ElementsAre(Field(&TimedText::text, "\u00E9\u00E9\u00E9 \u65E5")));
}

TEST(Subtitles, HoldNoArrowsAndNoBlankLines) {
  const Words cues = {{"a-->b\n\nc", 3661.0015, 3662.5}, {"<i> & d", 7, 7}};
  EXPECT_EQ(
      srt_text(cues),
      "1\n01:01:01,002 --> 01:01:02,500\na->b  c\n\n2\n00:00:07,000 --> 00:00:07,001\n<i> & d\n\n");
  EXPECT_EQ(
      vtt_text(cues),
      "WEBVTT\n\n01:01:01.002 --> 01:01:02.500\na--&gt;b  c\n\n00:00:07.000 --> 00:00:07.001\n"
      "&lt;i&gt; &amp; d\n\n");
}

TEST(Ctm, HasFieldsWithoutSpaces) {
  const Words words = {{"new york", 0.02, 0.5, 0.25}, {"", 1, 1.2, kNan}};
  EXPECT_EQ(ctm_text(";;a b", 2, words),
            "\\x3b\\x3ba\\x20b 2 0.020 0.480 new\\x20york 0.250000\n\\x3b\\x3ba\\x20b 2 1.000 "
            "0.200 <NA>\n");
}

TEST(Rttm, HasFieldsWithoutSpacesAndQuotes) {
  const Words segments = {{"a \"b\"", 0.5, 2, -0.5}, {"<NA>", 2, 3, kNan}, {"c", 3, 4, -kInfinity}};
  EXPECT_EQ(rttm_text("x", 1, segments),
            "SPEAKER x 1 0.500 1.500 <NA> <NA> a\\x20\\x22b\\x22 -0.500000 <NA>\n"
            "SPEAKER x 1 2.000 1.000 <NA> <NA> \\x3cNA> <NA> <NA>\n"
            "SPEAKER x 1 3.000 1.000 <NA> <NA> c <NA> <NA>\n");
}

TEST(TextGrid, CoversTheWholeTimeWithoutOverlaps) {
  const Words words = {{"say \"a\"", 0.5, 1}, {"b", 0.9, 0.9}, {"c", 2, 2.5}};
  const std::vector<LabelTier> tiers = {{"words", words}, {"none", {}}};
  const std::string text = textgrid_text(tiers, 2.25);
  EXPECT_THAT(text, HasSubstr("xmin = 0\nxmax = 2.500000\ntiers? <exists>\nsize = 2\n"));
  EXPECT_THAT(text, HasSubstr("intervals: size = 5\n"));
  EXPECT_THAT(
      text,
      HasSubstr(
          "xmin = 0.500000\n            xmax = 1.000000\n            text = \"say \"\"a\"\"\"\n"));
  EXPECT_THAT(
      text, HasSubstr("xmin = 1.000000\n            xmax = 1.001000\n            text = \"b\"\n"));
  EXPECT_THAT(text,
              HasSubstr("xmin = 1.001000\n            xmax = 2.000000\n            text = \"\"\n"));
  EXPECT_THAT(text, HasSubstr("intervals: size = 1\n"));
  EXPECT_THAT(text, Not(HasSubstr("e+")));
}

TEST(AudacityLabels, AreFieldsBetweenTabs) {
  EXPECT_EQ(audacity_text(Words{{"a\tb\nc", 0.5, 1.25}}), "0.500000\t1.250000\ta b c\n");
}

}  // namespace
}  // namespace w2vbert::tool::testing
