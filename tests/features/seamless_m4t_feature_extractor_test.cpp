#include "w2vbert/features/seamless_m4t_feature_extractor.h"

#include <ATen/Parallel.h>
#include <gtest/gtest.h>
#include <torch/nn/modules/linear.h>
#include <torch/types.h>

#include <cmath>
#include <limits>

namespace w2vbert::testing {
namespace {

using Options = SeamlessM4TFeatureExtractor::Options;
using Padding = SeamlessM4TFeatureExtractor::Padding;
using Clips = std::vector<std::vector<float>>;

std::vector<float> noise(std::int64_t samples, std::uint32_t seed = 1) {
  std::vector<float> clip(static_cast<std::size_t>(samples));
  for (float& sample : clip) {
    seed = seed * 1664525U + 1013904223U;
    sample = static_cast<float>(seed >> 8) / 16777216.0F - 0.5F;
  }
  return clip;
}

class SetThreads {
 public:
  explicit SetThreads(int threads) : before_(at::get_num_threads()) {
    at::set_num_threads(threads);
  }
  ~SetThreads() { at::set_num_threads(before_); }

 private:
  int before_;
};

TEST(SeamlessM4TFeatureExtractor, ABatchedRowIsTheClipAlone) {
  const SeamlessM4TFeatureExtractor extractor;
  const Clips clips = {noise(50000, 3), noise(560, 4), noise(31337, 5)};
  const auto batch = extractor(clips);
  ASSERT_EQ(batch.input_features.sizes(), at::IntArrayRef({3, 156, 160}));
  for (std::size_t i = 0; i < clips.size(); ++i) {
    const auto alone = extractor({clips[i]});
    const auto row = batch.input_features[static_cast<std::int64_t>(i)];
    const auto frames = alone.input_features.size(1);
    EXPECT_TRUE(row.narrow(0, 0, frames).equal(alone.input_features[0]));
    EXPECT_TRUE(row.narrow(0, frames, 156 - frames).eq(0).all().item<bool>());
    EXPECT_EQ(batch.attention_mask[static_cast<std::int64_t>(i)].sum().item<std::int64_t>(),
              alone.attention_mask.sum().item<std::int64_t>());
  }
}

// The mel floor: the logarithm of silence would be infinite.
TEST(SeamlessM4TFeatureExtractor, SilenceHasFiniteValues) {
  const SeamlessM4TFeatureExtractor extractor;
  EXPECT_TRUE(extractor({std::vector<float>(16000)}).input_features.isfinite().all().item<bool>());
}

TEST(SeamlessM4TFeatureExtractor, TheNumberOfThreadsChangesNothing) {
  const SeamlessM4TFeatureExtractor extractor;
  const Clips clips = {noise(200000)};
  const auto one = [&] {
    const SetThreads threads(1);
    return extractor(clips);
  }();
  for (const int count : {2, 3}) {
    const SetThreads threads(count);
    EXPECT_TRUE(extractor(clips).input_features.equal(one.input_features)) << count;
  }
}

TEST(SeamlessM4TFeatureExtractor, TakesTensorsOfAnyFloatingType) {
  const SeamlessM4TFeatureExtractor extractor;
  const auto clip = noise(4000);
  const auto expected = extractor({clip}).input_features;
  const auto tensor = torch::tensor(at::ArrayRef<float>(clip));
  const auto two_channels = torch::stack({tensor, -tensor});
  const auto every_second = torch::stack({tensor, tensor}, 1).select(1, 0);
  for (const auto& given : {tensor, tensor.to(torch::kDouble), two_channels, every_second}) {
    EXPECT_TRUE(
        extractor(std::vector<at::Tensor>{given}, Options()).input_features.equal(expected));
  }
  const std::vector<at::Tensor> wrong[] = {{torch::ones({4000}, torch::kLong)},
                                           {torch::ones({1, 1, 4000})},
                                           {torch::Tensor()},
                                           {torch::ones({0, 4000})}};
  for (const auto& given : wrong) EXPECT_THROW(extractor(given, Options()), c10::ValueError);
}

TEST(SeamlessM4TFeatureExtractor, TakesWaveformsOfItsOwnSamplingRateOnly) {
  const SeamlessM4TFeatureExtractor extractor;
  const auto waveform = [](std::int64_t samples, int rate) {
    Waveform result;
    result.samples = noise(samples, static_cast<std::uint32_t>(samples));
    result.sample_rate_hz = rate;
    return result;
  };
  const std::vector<Waveform> waveforms = {waveform(4000, 16000), waveform(9000, 16000)};
  const auto expected = extractor({waveforms[0].samples, waveforms[1].samples});
  const auto both = extractor(waveforms);
  EXPECT_TRUE(both.input_features.equal(expected.input_features));
  EXPECT_TRUE(both.attention_mask.equal(expected.attention_mask));
  const auto alone = extractor({waveforms[1].samples}).input_features;
  EXPECT_TRUE(extractor(waveforms[1]).input_features.equal(alone));
  EXPECT_TRUE(extractor({waveforms[1]}).input_features.equal(alone));
  EXPECT_FALSE(
      extractor(waveform(9000, 16000), {.return_attention_mask = false}).attention_mask.defined());

  const auto error_of = [&](const std::vector<Waveform>& wrong) -> std::string {
    try {
      extractor(wrong);
    } catch (const c10::ValueError& error) {
      return error.msg();
    }
    return "no exception";
  };
  EXPECT_EQ(error_of({waveforms[0], waveform(4000, 44100)}),
            "waveforms[1]: 44100 Hz, expected 16000 Hz: resample it with resample_soxr or "
            "resample_sinc");
  EXPECT_THROW(extractor(waveform(4000, 8000)), c10::ValueError);
  EXPECT_THROW(extractor(waveform(4000, 0)), c10::ValueError);
  EXPECT_EQ(error_of({}), "clips: none, expected at least one");
}

TEST(SeamlessM4TFeatureExtractor, FeaturesCanBeTrainedOn) {
  const auto features = SeamlessM4TFeatureExtractor()({noise(4000)}).input_features;
  torch::nn::Linear linear(160, 2);
  linear(features).sum().backward();
  EXPECT_TRUE(linear->weight.grad().isfinite().all().item<bool>());
}

TEST(SeamlessM4TFeatureExtractor, OneBadSampleMakesItsClipNaNAndNoOther) {
  auto bad = noise(4000);
  bad[2000] = std::numeric_limits<float>::quiet_NaN();
  const auto features = SeamlessM4TFeatureExtractor()({noise(4000), bad, noise(4000)});
  EXPECT_TRUE(features.input_features[1].narrow(0, 0, 11).isnan().all().item<bool>());
  EXPECT_TRUE(features.input_features[0].isfinite().all().item<bool>());
  EXPECT_TRUE(features.input_features[2].isfinite().all().item<bool>());
}

TEST(SeamlessM4TFeatureExtractor, ShortClipsGiveWhatTransformersGives) {
  const SeamlessM4TFeatureExtractor extractor;
  EXPECT_THROW(extractor({noise(0)}), c10::ValueError);
  EXPECT_THROW(extractor({noise(239)}), c10::ValueError);
  EXPECT_EQ(extractor({noise(399)}).input_features.sizes(), at::IntArrayRef({1, 0, 160}));
  const auto one_frame = extractor({noise(SeamlessM4TFeatureExtractor::kMinSamples - 1)});
  EXPECT_TRUE(one_frame.input_features[0][0].narrow(0, 0, 80).isnan().all().item<bool>());
  EXPECT_EQ(one_frame.attention_mask.sum().item<std::int64_t>(), 0);
  const auto two_frames = extractor({noise(SeamlessM4TFeatureExtractor::kMinSamples)});
  EXPECT_TRUE(two_frames.input_features.isfinite().all().item<bool>());
  EXPECT_EQ(two_frames.attention_mask.sum().item<std::int64_t>(), 1);
}

TEST(SeamlessM4TFeatureExtractor, RefusesCallsThatMakeNoSense) {
  const SeamlessM4TFeatureExtractor extractor;
  const Clips two = {noise(4000), noise(3000)};
  const auto refuses = [&](const Clips& clips, const Options& options) {
    EXPECT_THROW(extractor(clips, options), c10::ValueError);
  };
  refuses({}, {});
  refuses(two, {.padding = Padding::do_not_pad});
  refuses(two, {.padding = Padding::max_length});
  refuses(two, {.padding = Padding::max_length, .max_length = 4});
  refuses(two, {.truncation = true});
  refuses(two, {.max_length = -1});
  refuses(two, {.pad_to_multiple_of = 0});
  refuses(two, {.sampling_rate = 8000});
  EXPECT_EQ(extractor(two, {.sampling_rate = 16000}).input_features.size(0), 2);  // still usable
}

TEST(SeamlessM4TFeatureExtractor, TheMaskCanBeLeftOut) {
  SeamlessM4TFeatureExtractorConfig config;
  EXPECT_FALSE(SeamlessM4TFeatureExtractor(config)({noise(4000)}, {.return_attention_mask = false})
                   .attention_mask.defined());
  config.return_attention_mask = false;
  const SeamlessM4TFeatureExtractor extractor(config);
  EXPECT_FALSE(extractor({noise(4000)}).attention_mask.defined());
  EXPECT_TRUE(extractor({noise(4000)}, {.return_attention_mask = true}).attention_mask.defined());
}

}  // namespace
}  // namespace w2vbert::testing
