// The gated convolution, add + LayerNorm and bias + swish beside their references.
#include <gtest/gtest.h>

#include "engine/cuda/kernel_cases.h"

namespace w2vbert::cuda {
namespace {

constexpr int kLongest = 300;

// Every length has its own tail in a tile, in a group of rows and before the first full window.
TEST(GatedConvKernel, IsRightForEveryLength) {
  for (std::int32_t length = 1; length <= kLongest; ++length) {
    for (const auto element : kElements) {
      const auto outcome =
          run(GatedConvCase{.lengths = {length}, .channels = 40, .seed = 7}, element);
      ASSERT_TRUE(outcome.is_clean())
          << length << " " << name_of(element) << ": " << outcome.text();
    }
  }
}

TEST(GatedConvKernel, IsRightForEveryKernelSize) {
  for (std::int32_t kernel = 1; kernel <= 64; ++kernel) {
    const auto element = kElements[kernel % 3];
    const auto outcome = run(
        GatedConvCase{
            .lengths = {3, kernel, 70}, .channels = 16, .kernel_size = kernel, .tile_rows = 32},
        element);
    ASSERT_TRUE(outcome.is_clean()) << kernel << " " << name_of(element) << ": " << outcome.text();
  }
}

TEST(GatedConvKernel, IsRightForRaggedBatches) {
  for (unsigned seed = 1; seed <= 12; ++seed) {
    for (const auto element : kElements) {
      const auto channels = static_cast<std::int32_t>(8 * (1 + seed * 5 % 25));
      const GatedConvCase of{.lengths = random_lengths(seed, 5, 150),
                             .channels = channels,
                             .kernel_size = seed % 4 == 0 ? 9 : 31,
                             .tile_rows = static_cast<std::int32_t>(16 * (1 + seed % 5)),
                             .seed = seed};
      const auto outcome = run(of, element);
      ASSERT_TRUE(outcome.is_clean()) << seed << " " << name_of(element) << ": " << outcome.text();
    }
  }
}

// 1024 channels are the model's; 1032 and 8192 are the general kernel's.
TEST(GatedConvKernel, IsRightForWideRows) {
  for (const std::int32_t channels : {1024, 1032, 8192}) {
    const auto outcome =
        run(GatedConvCase{.lengths = {5, 12}, .channels = channels, .tile_rows = 16},
            Element::bfloat16);
    EXPECT_TRUE(outcome.is_clean()) << channels << ": " << outcome.text();
  }
}

TEST(GatedConvKernel, KeepsHostileValuesInTheirRows) {
  for (const auto hostile : {Hostile::infinity, Hostile::not_a_number, Hostile::large}) {
    for (const auto element : kElements) {
      for (const std::int32_t kernel : {31, 4}) {
        const auto outcome = run(GatedConvCase{.lengths = {40, 90, 1, 33},
                                               .channels = 8,
                                               .kernel_size = kernel,
                                               .hostile = hostile},
                                 element);
        EXPECT_TRUE(outcome.is_clean()) << name_of(element) << ": " << outcome.text();
      }
    }
  }
}

TEST(GatedConvKernel, RefusesWhatItCannotDo) {
  GatedConv arguments;
  arguments.channels = 12;
  arguments.kernel_size = 31;
  EXPECT_STREQ(launch_gated_conv(arguments, Element::float32, nullptr),
               "gated_conv: channels that are not a multiple of 8 up to 8192");
  arguments.channels = 16;
  arguments.kernel_size = 65;
  EXPECT_STREQ(launch_gated_conv(arguments, Element::float32, nullptr),
               "gated_conv: a kernel size that is not 1 to 64");
}

TEST(AddNormKernel, IsRightForEveryMultipleOfEight) {
  for (std::int32_t channels = 8; channels <= 8 * kLongest; channels += 8) {
    const auto element = kElements[channels / 8 % 3];
    for (const bool delta : {true, false}) {
      const auto outcome = run(AddNormCase{.rows = 2,
                                           .channels = channels,
                                           .delta = delta,
                                           .scale = channels % 16 == 0 ? 0.5f : 1.0f,
                                           .float32_output = channels / 8 % 4 == 0},
                               element);
      ASSERT_TRUE(outcome.is_clean())
          << channels << " " << name_of(element) << ": " << outcome.text();
    }
  }
}

TEST(AddNormKernel, IsRightForWideRows) {
  for (const std::int32_t channels : {2048, 2056, 8184, 8192}) {
    for (const auto element : kElements) {
      const auto outcome = run(AddNormCase{.rows = 2, .channels = channels}, element);
      EXPECT_TRUE(outcome.is_clean())
          << channels << " " << name_of(element) << ": " << outcome.text();
    }
  }
}

TEST(AddNormKernel, KeepsHostileValuesInTheirRows) {
  for (const auto hostile : {Hostile::infinity, Hostile::not_a_number, Hostile::large}) {
    for (const auto element : kElements) {
      const auto outcome =
          run(AddNormCase{.rows = 60, .channels = 16, .hostile = hostile}, element);
      EXPECT_TRUE(outcome.is_clean()) << name_of(element) << ": " << outcome.text();
    }
  }
}

TEST(BiasSwishKernel, IsRightForEveryNumberOfRows) {
  for (std::int32_t rows = 1; rows <= kLongest; ++rows) {
    const auto element = kElements[rows % 3];
    const auto outcome = run(
        BiasSwishCase{
            .rows = rows, .channels = 24, .bias = rows % 2 == 0, .in_place = rows % 5 == 0},
        element);
    ASSERT_TRUE(outcome.is_clean()) << rows << " " << name_of(element) << ": " << outcome.text();
  }
}

TEST(BiasSwishKernel, KeepsHostileValues) {
  for (const auto hostile : {Hostile::infinity, Hostile::not_a_number, Hostile::large}) {
    for (const auto element : kElements) {
      const auto outcome =
          run(BiasSwishCase{.rows = 50, .channels = 16, .hostile = hostile}, element);
      EXPECT_TRUE(outcome.is_clean()) << name_of(element) << ": " << outcome.text();
    }
  }
}

}  // namespace
}  // namespace w2vbert::cuda
