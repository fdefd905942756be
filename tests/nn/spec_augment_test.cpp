#include "nn/spec_augment.h"

#include <gtest/gtest.h>

namespace w2vbert::testing {
namespace {

TEST(SpecAugment, MarksNoFewerThanTheLeastSpansAndStaysInsideTheValidFrames) {
  NumpyRandom random(3);
  const auto lengths = torch::tensor({30, 12});
  const auto mask = torch::arange(30).unsqueeze(0).lt(lengths.unsqueeze(1)).to(torch::kLong);
  for (int i = 0; i < 50; ++i) {
    const auto marked = compute_mask_indices(2, 30, {0.1, 4, 2}, mask, random);
    EXPECT_GE(marked[0].sum().item<int>(), 5);  // two spans may overlap
    EXPECT_FALSE(marked[1].slice(0, 12).any().item<bool>());
  }
}

TEST(SpecAugment, MarksTheLastFrameOfARowThatIsShorterThanASpan) {
  NumpyRandom random(3);
  auto mask = torch::ones({2, 30}, torch::kLong);
  mask[1].slice(0, 2).fill_(0);
  const auto marked = compute_mask_indices(2, 30, {0.1, 4, 2}, mask, random);
  EXPECT_EQ(marked[1].sum().item<int>(), 1);  // HF
  EXPECT_TRUE(marked[1][29].item<bool>());
}

TEST(SpecAugment, RefusesASpanLongerThanTheAxis) {
  NumpyRandom random(3);
  EXPECT_THROW(compute_mask_indices(1, 3, {0.1, 4, 0}, {}, random), c10::ValueError);
}

}  // namespace
}  // namespace w2vbert::testing
