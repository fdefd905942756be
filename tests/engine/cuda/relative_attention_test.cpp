// Attention with relative positions beside its reference.
#include <gtest/gtest.h>

#include "engine/cuda/kernel_cases.h"

namespace w2vbert::cuda {
namespace {

constexpr int kLongest = 300;

void expect_clean(const AttentionCase& of, Element element, const std::string& what) {
  const auto outcome = run(of, element);
  EXPECT_TRUE(outcome.is_clean()) << what << " " << name_of(element) << ": " << outcome.text();
}

// The distances of the model: tiles to the left and to the right of the band from 129 frames on.
class EveryLength : public testing::TestWithParam<Element> {};

TEST_P(EveryLength, IsRight) {
  for (std::int32_t length = 1; length <= kLongest; ++length) {
    const auto outcome = run(AttentionCase{.lengths = {length},
                                           .head_size = GetParam() == Element::bfloat16 ? 64 : 16,
                                           .seed = static_cast<unsigned>(length)},
                             GetParam());
    ASSERT_TRUE(outcome.is_clean()) << length << ": " << outcome.text();
  }
}

INSTANTIATE_TEST_SUITE_P(RelativeAttentionKernel, EveryLength, testing::ValuesIn(kElements),
                         [](const auto& element) { return std::string(name_of(element.param)); });

TEST(RelativeAttentionKernel, IsRightForEveryHeadSize) {
  for (std::int32_t size = 8; size <= 128; size += 8) {
    for (const auto element : kElements) {
      expect_clean({.lengths = {70, 3}, .heads = 2, .head_size = size, .left = 20, .right = 5},
                   element, std::to_string(size));
    }
  }
}

TEST(RelativeAttentionKernel, IsRightForAnyDistances) {
  const std::int32_t distances[][2] = {{0, 0},  {1, 0},  {0, 1},   {63, 0},
                                       {64, 8}, {8, 64}, {0, 130}, {150, 1}};
  for (const auto& [left, right] : distances) {
    for (const auto element : kElements) {
      expect_clean({.lengths = {200, 64, 1}, .left = left, .right = right}, element,
                   std::to_string(left) + " " + std::to_string(right));
    }
  }
}

TEST(RelativeAttentionKernel, IsRightForRaggedBatches) {
  for (unsigned seed = 1; seed <= 9; ++seed) {
    for (const auto element : kElements) {
      expect_clean({.lengths = random_lengths(seed, 5, 160),
                    .heads = 1 + static_cast<std::int32_t>(seed % 3),
                    .head_size = seed % 3 == 0 ? 64 : 24,
                    .positions = seed % 4 != 0,
                    .mask = seed % 2 == 0 ? Mask::random : Mask::nothing,
                    .sdpa = seed % 5 != 0,
                    .seed = seed},
                   element, std::to_string(seed));
    }
  }
}

// HF: with positions a masked score is the lowest finite number, so where all keys are masked they
// all count alike; without them such a query gets zeros from sdpa and the mean from eager
// attention.
TEST(RelativeAttentionKernel, CountsMaskedKeysAsHuggingFaceDoes) {
  for (const auto mask : {Mask::random, Mask::all_of_each_clip, Mask::every_second_clip}) {
    for (const bool positions : {true, false}) {
      for (const bool sdpa : {true, false}) {
        for (const auto element : kElements) {
          expect_clean(
              {.lengths = {5, 130, 64, 1}, .positions = positions, .mask = mask, .sdpa = sdpa},
              element, positions ? "positions" : "no positions");
        }
      }
    }
  }
}

TEST(RelativeAttentionKernel, KeepsHostileValuesInTheirClips) {
  for (const auto hostile : {Hostile::infinity, Hostile::not_a_number, Hostile::large}) {
    for (const auto element : {Element::float32, Element::bfloat16}) {
      for (const bool sdpa : {true, false}) {
        expect_clean({.lengths = {40, 90, 1, 33}, .sdpa = sdpa, .hostile = hostile}, element,
                     std::to_string(static_cast<int>(hostile)));
      }
    }
  }
}

// The greatest score moves from tile to tile, by hundreds.
TEST(RelativeAttentionKernel, IsRightForSharpScores) {
  for (const auto element : kElements) {
    expect_clean({.lengths = {300, 65}, .scale = 30.0f, .score_scale = 1.0f}, element, "sharp");
  }
}

TEST(RelativeAttentionKernel, RefusesWhatItCannotDo) {
  RelativeAttention arguments;
  arguments.heads = 1;
  arguments.head_size = 12;
  EXPECT_STREQ(launch_relative_attention(arguments, Element::float32, nullptr),
               "relative_attention: a head size that is not a multiple of 8 up to 128");
  arguments.head_size = 64;
  arguments.distance_embedding = &arguments;
  arguments.left = 5000;
  EXPECT_STREQ(unsupported_attention(arguments, Element::bfloat16),
               "relative_attention: more distances than shared memory has room for");
  arguments.left = 64;
  arguments.right = 8;
  EXPECT_EQ(unsupported_attention(arguments, Element::bfloat16), nullptr);
  EXPECT_EQ(unsupported_attention(arguments, Element::float32), nullptr);
}

}  // namespace
}  // namespace w2vbert::cuda
