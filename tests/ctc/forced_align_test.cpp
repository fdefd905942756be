#include "w2vbert/ctc/forced_align.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstdint>
#include <limits>
#include <random>
#include <string>
#include <vector>

#include "support/error_message.h"
#include "w2vbert/core/error.h"

namespace w2vbert::testing {
namespace {

using Ids = std::vector<std::int64_t>;
using ::testing::HasSubstr;

constexpr float kInfinity = std::numeric_limits<float>::infinity();

std::vector<float> random_emission(std::int64_t frames, std::int64_t vocab_size, unsigned seed) {
  std::mt19937 generator(seed);
  std::vector<float> values(static_cast<std::size_t>(frames * vocab_size));
  for (float& value : values) value = -static_cast<float>(generator() % 100000) / 10000;
  return values;
}

Ids spelled(const Ids& path, std::int64_t blank) {
  Ids tokens;
  for (std::size_t i = 0; i < path.size(); ++i) {
    if (path[i] != blank && (i == 0 || path[i] != path[i - 1])) tokens.push_back(path[i]);
  }
  return tokens;
}

// The largest sum of all paths that spell `targets`, by trying each of them.
double best_sum(const std::vector<float>& values, std::int64_t vocab_size, const Ids& targets,
                std::int64_t blank) {
  const auto frames = values.size() / static_cast<std::size_t>(vocab_size);
  double best = -kInfinity;
  Ids path(frames, 0);
  while (true) {
    if (spelled(path, blank) == targets) {
      double sum = 0;
      for (std::size_t t = 0; t < frames; ++t) {
        sum += values[t * static_cast<std::size_t>(vocab_size) + static_cast<std::size_t>(path[t])];
      }
      best = std::max(best, sum);
    }
    std::size_t at = 0;
    while (at < frames && ++path[at] == vocab_size) path[at++] = 0;
    if (at == frames) return best;
  }
}

double sum_of(const ForcedAlignment& alignment) {
  double sum = 0;
  for (const float score : alignment.scores) sum += score;
  return sum;
}

TEST(ForcedAlign, FindsTheMostProbableOfAllPaths) {
  const std::vector<Ids> texts = {{1}, {1, 2}, {1, 1}, {2, 1, 2}, {2, 2, 2}, {1, 2, 2, 1}};
  for (unsigned seed = 0; seed < 60; ++seed) {
    const Ids& targets = texts[seed % texts.size()];
    const auto values = random_emission(6, 3, seed);
    const ForcedAlignment alignment = forced_align(values, 3, targets, 0);
    EXPECT_EQ(spelled(alignment.path, 0), targets) << seed;
    EXPECT_NEAR(sum_of(alignment), best_sum(values, 3, targets, 0), 1e-4) << seed;  // measured 0
  }
}

TEST(ForcedAlign, TakesABlankAtAnyPlace) {
  const auto values = random_emission(6, 3, 5);
  for (const std::int64_t blank : {0, 1, 2}) {
    const Ids targets = {blank == 0 ? 1 : 0};
    const ForcedAlignment alignment = forced_align(values, 3, targets, blank);
    EXPECT_EQ(spelled(alignment.path, blank), targets);
    EXPECT_NEAR(sum_of(alignment), best_sum(values, 3, targets, blank), 1e-4);
  }
}

// The token 2 is impossible in frame 1: in frame 2 it is reached from the token 1 or the blank,
// whose sums are equal, and torchaudio's rule stays where it never was.
TEST(ForcedAlign, FindsAPathWhereTorchaudiosRuleForEqualSumsLeavesNone) {
  std::vector<float> values(3 * 3, -1.0F);
  values[1 * 3 + 2] = -kInfinity;
  const Ids targets = {1, 2};
  EXPECT_EQ(spelled(forced_align(values, 3, targets, 0).path, 0), targets);
}

TEST(ForcedAlign, NeedsAFrameForEachTokenAndEachRepeat) {
  const Ids targets = {1, 1, 2, 2};
  EXPECT_EQ(forced_align(random_emission(6, 3, 1), 3, targets, 0).path, (Ids{1, 0, 1, 2, 0, 2}));
  EXPECT_THAT(
      message_of<UsageError>([&] { forced_align(random_emission(5, 3, 1), 3, targets, 0); }),
      HasSubstr("5 frames, expected 6 or more for 4 tokens, 2 of them a repeat"));
  EXPECT_THAT(message_of<UsageError>([&] { forced_align({}, 3, targets, 0); }),
              HasSubstr("0 frames"));
}

TEST(ForcedAlign, RefusesWhatIsNoTextOfTheVocabulary) {
  const auto values = random_emission(8, 3, 2);
  const auto error_of = [&](const Ids& targets, std::int64_t blank = 0) {
    return message_of<UsageError>([&] { forced_align(values, 3, targets, blank); });
  };
  EXPECT_THAT(error_of({}), HasSubstr("targets: are empty"));
  EXPECT_THAT(error_of({1, 3}), HasSubstr("has the id 3, expected ids below"));
  EXPECT_THAT(error_of({-1}), HasSubstr("has the id -1, expected ids below"));
  EXPECT_THAT(error_of({1, 0}), HasSubstr("has the blank 0"));
  EXPECT_THAT(error_of({1}, 3), HasSubstr("blank: is 3"));
  EXPECT_THAT(error_of({1}, -1), HasSubstr("blank: is -1"));
}

TEST(ForcedAlign, RefusesAnEmissionThatIsNone) {
  auto values = random_emission(8, 3, 2);
  const auto error_of = [&](std::int64_t vocab_size = 3) {
    return message_of<UsageError>([&] { forced_align(values, vocab_size, Ids{1}, 0); });
  };
  EXPECT_THAT(error_of(5), HasSubstr("24 values, expected a multiple"));
  EXPECT_THAT(error_of(0), HasSubstr("vocab_size: is 0"));
  values[7] = std::nanf("");
  EXPECT_THAT(error_of(), HasSubstr("is NaN in frame 2 for token 1"));
  values[7] = kInfinity;
  EXPECT_THAT(error_of(), HasSubstr("is infinite in frame 2 for token 1"));
  values[7] = -kInfinity;
  EXPECT_NO_THROW(forced_align(values, 3, Ids{1}, 0));
  for (std::size_t frame = 0; frame < 8; ++frame) values[frame * 3 + 1] = -kInfinity;
  EXPECT_THAT(error_of(), HasSubstr("no path of the targets"));
}

TEST(MergeTokens, GivesEachRunItsFramesAndTheirMean) {
  const Ids path = {0, 1, 1, 2, 0, 2, 2, 0};
  const std::vector<float> scores = {-9, -1, -2, -3, -9, -4, -5, -9};
  const auto spans = merge_tokens(path, scores, 0);
  ASSERT_EQ(spans.size(), 3U);
  EXPECT_EQ(spans[0].token, 1);
  EXPECT_EQ(spans[0].start, 1);
  EXPECT_EQ(spans[0].end, 3);
  EXPECT_EQ(spans[0].score, -1.5);
  EXPECT_EQ(spans[1].token, 2);
  EXPECT_EQ(spans[1].end, 4);
  EXPECT_EQ(spans[2].start, 5);
  EXPECT_EQ(spans[2].end, 7);
  EXPECT_TRUE(merge_tokens({}, {}, 0).empty());
  EXPECT_THAT(message_of<UsageError>([&] { merge_tokens(path, {}, 0); }), HasSubstr("0 values"));
}

}  // namespace
}  // namespace w2vbert::testing
