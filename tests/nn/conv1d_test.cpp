#include "w2vbert/nn/conv1d.h"

#include <ATen/Context.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <torch/autograd.h>
#include <torch/types.h>
#include <torch/utils.h>

#include <cmath>
#include <memory>
#include <vector>

#include "nn/onednn.h"
#include "support/random_parameters.h"
#include "support/small_config.h"
#include "w2vbert/nn/convolution_module.h"

namespace w2vbert::testing {
namespace {

using Options = torch::nn::Conv1dOptions;

struct Convolved {
  torch::Tensor output;
  std::vector<torch::Tensor> gradients;  // of the input, the weight and the bias
};

Options depthwise(std::int64_t channels, std::int64_t kernel_size) {
  return Options(channels, channels, kernel_size).groups(channels).bias(false);
}

// `conv1d` of random float16 values, and the gradients of its products with random numbers.
template <class Function>
Convolved run(const Function& conv1d, const Options& options, std::int64_t frames) {
  torch::manual_seed(7);
  Conv1d conv(options);
  conv->to(torch::kHalf);
  const auto input =
      torch::randn({2, options.in_channels(), frames}).to(torch::kHalf).requires_grad_();
  const auto output = conv1d(conv, input);
  const auto factors = torch::randn(output.sizes()).to(torch::kHalf);
  std::vector<torch::Tensor> inputs = {input};
  for (const auto& parameter : conv->parameters()) inputs.push_back(parameter);
  return {output.detach(), torch::autograd::grad({(output * factors).sum()}, inputs)};
}

torch::Tensor run_ours(Conv1d& conv, const torch::Tensor& x) { return conv(x); }

torch::Tensor run_theirs(Conv1d& conv, const torch::Tensor& x) {
  return static_cast<torch::nn::Conv1dImpl&>(*conv).forward(x);
}

// The same layer in another type.
std::shared_ptr<Conv1dImpl> copy_in(torch::Dtype dtype, const Conv1d& conv) {
  auto copy = std::dynamic_pointer_cast<Conv1dImpl>(conv->clone());
  copy->to(dtype);
  return copy;
}

// How far a float16 value may be from `exact`, a sum of `terms` products whose magnitudes add up to
// `magnitude`. A product of two float16 values is exact in float32; each addition rounds by at most
// 2^-24 of the magnitudes; and the sum is rounded once more, by 2^-11 of it, or by 2^-25 where
// float16 is not normal.
torch::Tensor rounding_limit(const torch::Tensor& exact, const torch::Tensor& magnitude,
                             std::int64_t terms) {
  const auto of_additions = magnitude * (static_cast<double>(terms) * std::ldexp(1.0, -24));
  return of_additions + (exact.abs() + of_additions) * std::ldexp(1.0, -11) + std::ldexp(1.0, -25);
}

// Shapes of which oneDNN's float16 kernel is built in no time.
TEST(Conv1d, GivesTheBitsAndGradientsOfLibTorchInFloat16) {
  struct Shape {
    Options options;
    std::int64_t frames;
  };
  const Shape shapes[] = {
      {depthwise(20, 31), 294},
      {depthwise(48, 31), 80},
      {depthwise(96, 31), 37},
      {depthwise(24, 3), 35},
      {depthwise(1024, 31), 42},
      {depthwise(20, 31).bias(true), 294},
      {depthwise(1024, 31).bias(true), 42},
      {depthwise(24, 3).bias(true).padding(1), 33},
      {depthwise(24, 3).bias(true).padding(1).stride(2), 33},
      {depthwise(24, 3).dilation(2), 33},
      {depthwise(48, 5).bias(true).dilation(3), 80},
      {depthwise(48, 31).padding(15), 80},
      {depthwise(48, 31).stride(2), 80},
      {depthwise(48, 5).bias(true).out_channels(96), 80},
  };
  for (const auto& [options, frames] : shapes) {
    SCOPED_TRACE(::testing::Message() << *Conv1d(options) << ", " << frames << " frames");
    const Convolved got = run(run_ours, options, frames);
    const Convolved expected = run(run_theirs, options, frames);
    EXPECT_TRUE(got.output.equal(expected.output));
    ASSERT_EQ(got.gradients.size(), expected.gradients.size());
    for (std::size_t i = 0; i < got.gradients.size(); ++i) {
      EXPECT_TRUE(got.gradients[i].equal(expected.gradients[i])) << "gradient " << i;
    }
  }
}

// Shapes of which oneDNN would build it for ever; the test's time limit is the check that we do
// not.
TEST(Conv1d, ReturnsForShapesWhoseFloat16KernelIsNeverBuilt) {
  if (!onednn_takes_float16()) GTEST_SKIP() << "oneDNN does not take float16 on this CPU";
  constexpr std::int64_t kKernel = 31;
  for (const std::int64_t channels : {3, 4, 8, 12, 16, 72, 80, 136, 144, 208}) {
    for (const bool bias : {false, true}) {
      for (const std::int64_t frames : {71, 264}) {
        torch::Tensor limit;
        const auto ours = [&](Conv1d& conv, const torch::Tensor& x) {
          const torch::NoGradGuard no_grad;
          auto exact = copy_in(torch::kDouble, conv);
          const auto sum = exact->forward(x.to(torch::kDouble));
          for (auto& parameter : exact->parameters()) parameter.abs_();
          const auto magnitude = exact->forward(x.to(torch::kDouble).abs());
          limit = (conv(x) - sum).abs() - rounding_limit(sum, magnitude, kKernel + 1);
          const torch::AutoGradMode grad(true);
          return conv(x);
        };
        const Convolved got =
            run(ours, depthwise(channels, kKernel).bias(bias), frames + kKernel - 1);
        EXPECT_EQ(got.output.size(2), frames);
        EXPECT_LE(limit.max().item<double>(), 0.0)
            << channels << " channels, " << frames << " frames, bias " << bias;
        for (const auto& gradient : got.gradients) {
          EXPECT_TRUE(gradient.isfinite().all().item<bool>());
        }
      }
    }
  }
}

TEST(Conv1d, RoundsOnceWhatFloat32GivesWhateverThePaddingStrideAndDilation) {
  if (!onednn_takes_float16()) GTEST_SKIP() << "oneDNN does not take float16 on this CPU";
  const torch::NoGradGuard no_grad;
  torch::manual_seed(10);
  const auto wide = [] { return depthwise(16, 31); };
  const Options all[] = {
      wide(),
      wide().bias(true),
      wide().padding(15),
      wide().padding(torch::kValid),
      wide().stride(2).bias(true),
      wide().stride(3).padding(4),
      wide().dilation(2),
      wide().dilation(3).padding(7).bias(true),
      wide().padding(torch::kSame).bias(true),
      wide().padding(15).padding_mode(torch::kReflect).bias(true),
      wide().padding(9).padding_mode(torch::kReplicate),
      wide().padding(9).padding_mode(torch::kCircular).stride(2),
      wide().padding(torch::kSame).padding_mode(torch::kReflect),
      depthwise(16, 4).padding(torch::kSame),  // one frame more on the right
      depthwise(16, 4).padding(torch::kSame).padding_mode(torch::kCircular).bias(true),
      wide().out_channels(32).bias(true),
  };
  for (const Options& options : all) {
    Conv1d conv(options);
    SCOPED_TRACE(::testing::Message() << *conv);
    conv->to(torch::kHalf);
    const auto input = torch::randn({2, 16, 101}).to(torch::kHalf);
    const auto in_float32 = copy_in(torch::kFloat, conv);
    auto added_last = torch::zeros({1});
    if (options.bias() && options.dilation()->at(0) == 1) {
      added_last = in_float32->bias.unsqueeze(1);
      in_float32->bias = torch::Tensor();
    }
    const auto compute = [&](const torch::Tensor& x) {
      return (in_float32->forward(x.to(torch::kFloat)) + added_last).to(torch::kHalf);
    };
    EXPECT_TRUE(conv(input).equal(compute(input)));
    const auto alone = compute(input[1]);
    EXPECT_TRUE(conv(input[1]).equal(alone));
    EXPECT_EQ(alone.dim(), 2);
  }
}

TEST(Conv1d, RefusesInputsOfAnotherShapeOrType) {
  Conv1d conv(depthwise(6, 3));
  for (const auto dtype : {torch::kFloat, torch::kHalf}) {
    conv->to(dtype);
    const auto input = torch::randn({2, 6, 9}).to(dtype);
    EXPECT_EQ(conv(input).sizes(), at::IntArrayRef({2, 6, 7}));
    EXPECT_EQ(conv(input[0]).sizes(), at::IntArrayRef({6, 7}));
    const torch::Tensor wrong[] = {torch::Tensor(), input[0][0], input.unsqueeze(0),
                                   input.slice(1, 1), input.transpose(1, 2)};
    for (const torch::Tensor& one : wrong) {
      try {
        conv(one);
        ADD_FAILURE() << (one.defined() ? one.sizes() : at::IntArrayRef()) << ", " << dtype;
      } catch (const c10::ValueError& error) {
        EXPECT_THAT(error.msg(), ::testing::StartsWith("input: "));
      }
    }
  }
  EXPECT_THROW(conv(torch::randn({2, 6, 9})), c10::Error);  // float32, in a layer of float16
  conv->to(torch::kFloat);
  EXPECT_THROW(conv(torch::randn({2, 6, 9}).to(torch::kHalf)), c10::Error);
}

// Step by step, with the depthwise convolution in float32 and rounded: the same bits.
TEST(Conv1d, IsWhatTheConvolutionModuleComputesInFloat16) {
  if (!onednn_takes_float16()) GTEST_SKIP() << "oneDNN does not take float16 on this CPU";
  auto config = small_config();
  config.hidden_size = 16;
  config.num_attention_heads = 2;
  config.conv_depthwise_kernel_size = 31;
  torch::manual_seed(8);
  const torch::NoGradGuard no_grad;
  Wav2Vec2BertConvolutionModule module(config);
  randomize_parameters(*module, 8);
  module->eval();
  module->to(torch::kHalf);
  const auto input = torch::randn({1, 71, 16}).to(torch::kHalf);
  auto x = module->pointwise_conv1(module->layer_norm(input).transpose(1, 2));
  x = torch::constant_pad_nd(module->glu(x), {30, 0});
  const auto weight = module->depthwise_conv->weight.to(torch::kFloat);
  x = at::convolution(x.to(torch::kFloat), weight, {}, {1}, {0}, {1}, false, {0}, 16)
          .to(torch::kHalf);
  x = module->activation(module->depthwise_layer_norm(x.transpose(1, 2)).transpose(1, 2));
  EXPECT_TRUE(module(input).equal(module->pointwise_conv2(x).transpose(1, 2)));
}

TEST(Conv1d, LeavesOtherTypesAndAUserWithoutOneDnnAlone) {
  torch::manual_seed(9);
  Conv1d conv(depthwise(20, 31));
  const auto input = torch::randn({1, 20, 294});
  const auto convolve = [&](const torch::Tensor& x) {
    return at::convolution(x, conv->weight, {}, {1}, {0}, {1}, false, {0}, x.size(1));
  };
  EXPECT_TRUE(conv(input).equal(convolve(input)));
  conv->to(torch::kHalf);
  at::globalContext().setUserEnabledMkldnn(false);
  const bool takes = onednn_takes_float16();
  const auto without = conv(input.to(torch::kHalf));
  const auto expected = convolve(input.to(torch::kHalf));
  at::globalContext().setUserEnabledMkldnn(true);
  EXPECT_FALSE(takes);
  EXPECT_TRUE(without.equal(expected));
}

}  // namespace
}  // namespace w2vbert::testing
