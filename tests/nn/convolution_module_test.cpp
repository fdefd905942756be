#include "w2vbert/nn/convolution_module.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <torch/types.h>
#include <torch/utils.h>

#include <cmath>
#include <limits>

#include "support/random_parameters.h"
#include "support/small_config.h"
#include "w2vbert/core/error.h"

namespace w2vbert::testing {
namespace {

using ::testing::ElementsAre;

class ConvolutionModule : public ::testing::Test {
 protected:
  ConvolutionModule() { torch::manual_seed(11); }
  Wav2Vec2BertConvolutionModule make(const Wav2Vec2BertConfig& config) {
    Wav2Vec2BertConvolutionModule module(config);
    randomize_parameters(*module, 11);
    module->eval();
    return module;
  }
  const torch::NoGradGuard no_grad_;
  const Wav2Vec2BertConfig config_ = small_config();
};

TEST_F(ConvolutionModule, RegistersTheSevenTensorsOfTheCheckpoint) {
  std::vector<std::string> names;
  for (const auto& item : make(config_)->named_parameters()) names.push_back(item.key());
  EXPECT_THAT(names, ElementsAre("layer_norm.weight", "layer_norm.bias", "pointwise_conv1.weight",
                                 "depthwise_conv.weight", "depthwise_layer_norm.weight",
                                 "depthwise_layer_norm.bias", "pointwise_conv2.weight"));
}

TEST_F(ConvolutionModule, IsCausalAndLooksBackOneKernel) {
  for (const std::int64_t kernel : {1, 3, 5}) {
    auto config = config_;
    config.conv_depthwise_kernel_size = kernel;
    auto module = make(config);
    auto input = torch::randn({1, 20, config.hidden_size});
    const auto before = module(input);
    constexpr std::int64_t kChanged = 8;
    input.select(1, kChanged).add_(torch::randn({config.hidden_size}));
    const auto changed = (module(input) - before).abs().amax({0, 2});  // (T)
    for (std::int64_t frame = 0; frame < 20; ++frame) {
      const bool reached = frame >= kChanged && frame < kChanged + kernel;
      EXPECT_EQ(changed[frame].item<float>() > 0.0F, reached)
          << "kernel " << kernel << " frame " << frame;
    }
  }
}

// The formula, written without any of the layers that the module is made of.
TEST_F(ConvolutionModule, ComputesGluDepthwiseNormActivation) {
  auto module = make(config_);
  const auto channels = config_.hidden_size;
  const auto kernel = config_.conv_depthwise_kernel_size;
  const auto input = torch::randn({2, 9, channels}, torch::kDouble);
  module->to(torch::kDouble);
  const auto norm = [&](const torch::nn::LayerNorm& of, const torch::Tensor& x) {
    const auto mean = x.mean(-1, true);
    return (x - mean) / torch::sqrt((x - mean).pow(2).mean(-1, true) + config_.layer_norm_eps) *
               of->weight +
           of->bias;
  };
  const auto wide =
      norm(module->layer_norm, input).matmul(module->pointwise_conv1->weight.squeeze(2).t());
  const auto gated = wide.slice(2, 0, channels) * torch::sigmoid(wide.slice(2, channels));
  auto mixed = torch::zeros_like(gated);
  for (std::int64_t t = 0; t < 9; ++t) {
    for (std::int64_t k = 0; k < kernel; ++k) {
      const auto from = t - (kernel - 1) + k;
      if (from < 0) continue;
      mixed.select(1, t) +=
          gated.select(1, from) * module->depthwise_conv->weight.select(2, k).squeeze(1);
    }
  }
  const auto normed = norm(module->depthwise_layer_norm, mixed);
  const auto expected =
      (normed * torch::sigmoid(normed)).matmul(module->pointwise_conv2->weight.squeeze(2).t());
  EXPECT_LT((module(input) - expected).abs().max().item<double>(), 1e-12);
}

TEST_F(ConvolutionModule, DoesNotLeakPaddedFrames) {
  auto module = make(config_);
  const auto input = torch::randn({2, 12, config_.hidden_size});
  auto mask = torch::ones({2, 12}, torch::kLong);
  mask[1].slice(0, 7) = 0;
  mask[0][3] = 0;  // a hole
  auto poisoned = input.clone();
  poisoned[1].slice(0, 7).fill_(NAN);
  poisoned[0][3].fill_(std::numeric_limits<float>::infinity());
  const auto clean = module(input, mask);
  const auto output = module(poisoned, mask);
  EXPECT_TRUE(output[0].equal(clean[0]));
  EXPECT_TRUE(output[1].slice(0, 0, 7).equal(clean[1].slice(0, 0, 7)));
}

TEST_F(ConvolutionModule, RefusesAnActivationThatItDoesNotKnow) {
  auto config = config_;
  config.hidden_act = "swishy";
  try {
    const Wav2Vec2BertConvolutionModule module(config);
    FAIL() << "no ConfigError";
  } catch (const ConfigError& error) {
    EXPECT_EQ(error.key(), "hidden_act");
    EXPECT_THAT(error.what(), ::testing::HasSubstr("hidden_act: \"swishy\", expected one of "));
  }
}

}  // namespace
}  // namespace w2vbert::testing
