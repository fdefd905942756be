#include "w2vbert/audio/resample.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <random>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "audio/soxr_stream.h"
#include "support/default_dtype.h"
#include "support/error_message.h"
#include "support/warm_up_counter.h"
#include "w2vbert/core/error.h"

namespace w2vbert::testing {
namespace {

using ::testing::HasSubstr;

TEST(Resample, LengthsAreRoundedUp) {
  for (const auto& [rate, samples, length] : {std::tuple{48000, 4801, 1601},
                                              {48000, 1, 1},
                                              {44100, 7, 3},
                                              {8000, 7, 14},
                                              {384000, 7, 1}}) {
    const std::vector<float> clip(static_cast<std::size_t>(samples), 0.5F);
    const auto expected = static_cast<std::size_t>(length);
    EXPECT_EQ(resample_soxr(clip, rate, 16000, "clip").size(), expected) << rate;
    EXPECT_EQ(resample_sinc(clip, rate, 16000, "clip").size(), expected) << rate;
  }
  EXPECT_TRUE(resample_soxr({}, 8000, 16000, "clip").empty());
  EXPECT_TRUE(resample_sinc({}, 8000, 16000, "clip").empty());
}

TEST(Resample, BlocksOfAnySizeGiveTheSameSamples) {
  std::mt19937 random(7);
  std::uniform_real_distribution<float> values(-1.0F, 1.0F);
  std::vector<float> clip(70001);
  for (float& sample : clip) sample = values(random);
  for (const int rate : {8000, 11025, 44100, 48000, 384000}) {
    const auto expected = resample_soxr(clip, rate, 16000, "clip");
    for (const std::size_t size : {std::size_t{1}, std::size_t{17}, std::size_t{4096}}) {
      SoxrStream stream(rate, 16000, "clip");
      std::vector<float> out = {0.5F};  // what is there stays
      for (std::size_t at = 0; at < clip.size(); at += size) {
        stream.add(std::span(clip).subspan(at, std::min(size, clip.size() - at)), out);
      }
      stream.finish(out);
      ASSERT_EQ(out.size(), expected.size() + 1) << rate << " " << size;
      EXPECT_TRUE(std::equal(expected.begin(), expected.end(), out.begin() + 1)) << rate;
    }
  }
}

TEST(Resample, TheSameRateChangesNothing) {
  const std::vector<float> clip = {0.1F, -0.2F, 0.3F};
  EXPECT_EQ(resample_soxr(clip, 16000, 16000, "clip"), clip);
  EXPECT_EQ(resample_sinc(clip, 16000, 16000, "clip"), clip);
}

TEST(Resample, SincWarmsUpItsCosineFirst) {
  warm_up_calls = 0;
  resample_sinc(std::vector<float>(100, 0.5F), 44100, 16000, "clip");
  EXPECT_EQ(warm_up_calls, 1);
}

TEST(Resample, GivesTheSameSamplesUnderAnyDefaultDtype) {
  std::mt19937 random(7);
  std::uniform_real_distribution<float> values(-1.0F, 1.0F);
  std::vector<float> clip(1001);
  for (float& sample : clip) sample = values(random);
  for (const int rate : {8000, 44100}) {
    for (const SincFilter filter : {SincFilter::functional, SincFilter::transform}) {
      const auto expected = resample_sinc(clip, rate, 16000, "clip", filter);
      const DefaultDtype wide(c10::ScalarType::Double);
      EXPECT_EQ(resample_sinc(clip, rate, 16000, "clip", filter), expected) << rate;
    }
  }
}

TEST(Resample, RefusesRatesBelow1) {
  const std::vector<float> clip(1000, 0.5F);
  for (const auto& rates :
       {std::pair{0, 16000}, {16000, 0}, {-8000, 16000}, {16000, -8000}, {0, 0}}) {
    const int from = rates.first, to = rates.second;
    const std::string words = "clip.wav: cannot be resampled from " + std::to_string(from) +
                              " to " + std::to_string(to) + " Hz";
    EXPECT_THAT(message_of<AudioError>([&] { resample_soxr(clip, from, to, "clip.wav"); }),
                HasSubstr(words));
    EXPECT_THAT(message_of<AudioError>([&] { resample_sinc(clip, from, to, "clip.wav"); }),
                HasSubstr(words));
  }
}

TEST(Resample, SincRefusesRatesWhoseFilterWouldFillTheMemory) {
  const std::vector<float> clip(1000, 0.5F);
  for (const int rate : {44101, 16001, 383999}) {
    try {
      resample_sinc(clip, rate, 16000, "clip.wav");
      FAIL() << rate;
    } catch (const AudioError& error) {
      EXPECT_THAT(error.what(),
                  HasSubstr("clip.wav: the sinc filter from " + std::to_string(rate)));
      EXPECT_THAT(error.what(), HasSubstr("or the resampler soxr"));
    }
    EXPECT_FALSE(resample_soxr(clip, rate, 16000, "clip.wav").empty());
  }
}

}  // namespace
}  // namespace w2vbert::testing
