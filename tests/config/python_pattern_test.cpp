// What is translated, what is refused, and what it may cost. That the expressions mean what they
// mean in Python is compared with PEFT itself (match_as_peft.py).
#include "config/python_pattern.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <memory>
#include <string>

namespace w2vbert::testing {
namespace {

using ::testing::HasSubstr;

PythonPattern pattern(const std::string& text) {
  return PythonPattern(text, std::make_shared<MatchBudget>());
}

std::string error_of(const std::string& text) {
  try {
    pattern(text);
  } catch (const PatternError& error) {
    return error.what();
  }
  return "accepted";
}

TEST(PythonPattern, MatchesWholeNamesAndBeginnings) {
  EXPECT_TRUE(pattern("a|ab").fullmatch("ab"));
  EXPECT_FALSE(pattern("a").fullmatch("ab"));
  EXPECT_TRUE(pattern("a").match("ab"));
  EXPECT_FALSE(pattern("b").match("ab"));
  EXPECT_TRUE(pattern("^(?!.*adapter).*linear_q$").fullmatch("encoder.linear_q"));
  EXPECT_FALSE(pattern("^(?!.*adapter).*linear_q$").fullmatch("adapter.linear_q"));
}

TEST(PythonPattern, GivesTheTextOfANamedGroup) {
  const PythonPattern layers = pattern(R"(.*?\.(?P<idx>\d+)(?P<rest>x)?)");
  EXPECT_EQ(layers.group_of_match("layers.12.q", "idx"), "12");
  EXPECT_EQ(layers.group_of_match("layers.12.q", "rest"), std::nullopt);
  EXPECT_EQ(layers.group_of_match("layers.q", "idx"), std::nullopt);
  EXPECT_EQ(layers.group_of_match("layers.12.q", "none"), std::nullopt);
}

// Each means something else to PCRE2, or nothing.
TEST(PythonPattern, TranslatesWhatPcre2SpellsOtherwise) {
  EXPECT_TRUE(pattern(R"(a\Z)").fullmatch("a"));
  EXPECT_TRUE(pattern("a{,2}b").fullmatch("aab"));
  EXPECT_FALSE(pattern("a{,2}b").fullmatch("a{,2}b"));
  EXPECT_TRUE(pattern("a{x}").fullmatch("a{x}"));
  EXPECT_TRUE(pattern("[[:alpha:]]").fullmatch("a]"));  // the set [:alph and a bracket
  EXPECT_FALSE(pattern("[[:alpha:]]").fullmatch("b"));
  EXPECT_TRUE(pattern("[]a]+").fullmatch("]a"));
  EXPECT_TRUE(pattern(R"([\]a-]+)").fullmatch("]-a"));
  EXPECT_TRUE(pattern("(?P<n>a|b)(?P=n)").fullmatch("aa"));
  EXPECT_FALSE(pattern("(?P<n>a|b)(?P=n)").fullmatch("ab"));
  EXPECT_TRUE(pattern("(a)?(?(1)b|c)").fullmatch("ab"));
  EXPECT_TRUE(pattern(R"(\x61\u0062\143)").fullmatch("abc"));
  EXPECT_TRUE(pattern(R"(\v|a)").fullmatch("\v"));  // PCRE2: any vertical space
  EXPECT_FALSE(pattern(R"(\v)").fullmatch("\n"));
  EXPECT_TRUE(pattern("(?i)AB").fullmatch("ab"));
  EXPECT_TRUE(pattern("(?i:A)b").fullmatch("ab"));
  EXPECT_FALSE(pattern("(?i:A)b").fullmatch("aB"));
  EXPECT_TRUE(pattern("(?x) a # comment\n b").fullmatch("ab"));
  EXPECT_TRUE(pattern("(?x)a(?-x: )b").fullmatch("a b"));
  EXPECT_TRUE(pattern("(?a)(?u:\\w)").fullmatch("a"));
  EXPECT_TRUE(pattern("a(?#comment)+").fullmatch("aa"));
  EXPECT_TRUE(pattern("a++b").fullmatch("aab"));
  EXPECT_FALSE(pattern("a*+a").fullmatch("aa"));
  EXPECT_FALSE(pattern("(?>a*)a").fullmatch("aa"));
  EXPECT_TRUE(pattern("\xC3\xA4|a").fullmatch("\xC3\xA4"));
}

TEST(PythonPattern, RefusesWhatPythonDoesNotTake) {
  for (const char* text : {"*a",          "(",        ")",         "a)",
                           "[a",          "a**",      "^*",        R"(\b+)",
                           "(?i)*",       "a(?i)b",   "(?<n>a)",   "(?R)",
                           "(?1)",        "(?|a|b)",  "(*UTF)a",   R"(\Qa)",
                           R"(\K)",       R"(\z)",    R"(\G)",     R"(\h)",
                           R"(\R)",       R"(\p{L})", R"(\g{1})",  R"(\N{DIGIT ONE})",
                           R"(\1)",       R"((a\1))", "(?P=n)",    "(?P<n>a)(?P<n>b)",
                           "(?P<1>a)",    "(?P<>a)",  "(?P>n)",    "(?(1)a|b)",
                           "(?(n)a|b)",   "[b-a]",    R"([\d-z])", R"([\z])",
                           R"(\x1)",      R"(\u12)",  R"(\ud800)", R"(\777)",
                           "\\",          "(?",       "(?z)",      "(?P",
                           "(?L)a",       "a{2,1}",   "a{99999}",  "\xFF",
                           "(?i)\xC3\xA4"}) {
    EXPECT_NE(error_of(text), "accepted") << text;
  }
  EXPECT_THAT(error_of(std::string(20'000, 'a')), HasSubstr("20000 bytes"));
  EXPECT_THAT(error_of(std::string(600, '(') + std::string(600, ')')), HasSubstr("too deep"));
}

TEST(PythonPattern, HasABudgetOfSteps) {
  const auto budget = std::make_shared<MatchBudget>();
  const std::string name = "encoder.layers.0.self_attn.linear_q";
  const PythonPattern quick(".*linear_q", budget);
  const std::uint64_t before = budget->left();
  EXPECT_TRUE(quick.fullmatch(name));
  EXPECT_LT(before - budget->left(), 1000U);
  std::string hostile;
  for (int i = 0; i < 250; ++i) hostile += "(.*)";
  const PythonPattern slow(hostile + "linear_q", budget);
  EXPECT_THROW(slow.fullmatch(name), PatternError);
  EXPECT_THROW(quick.fullmatch(name), PatternError);  // all of it is spent
}

// Each by itself is quick.
TEST(PythonPattern, IsPaidForTogetherWithTheOthers) {
  const auto budget = std::make_shared<MatchBudget>();
  const PythonPattern slowish("(a+)+(a|a)*(a+b?)+c", budget);
  const std::string name(14, 'a');
  EXPECT_FALSE(slowish.fullmatch(name));
  EXPECT_THROW(
      {
        for (int i = 0; i < 1'000'000; ++i) slowish.fullmatch(name + "c" + "d");
      },
      PatternError);
  EXPECT_THROW(
      {
        for (int i = 0; i < 1'000'000; ++i) {
          PythonPattern("(?:\\w{99}){99}" + std::to_string(i),
                        std::make_shared<MatchBudget>(*budget));
        }
      },
      PatternError);
}

}  // namespace
}  // namespace w2vbert::testing
