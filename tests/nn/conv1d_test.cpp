#include "w2vbert/nn/conv1d.h"

#include <ATen/Context.h>
#include <gtest/gtest.h>
#include <torch/autograd.h>
#include <torch/types.h>
#include <torch/utils.h>

#include <array>

#include "nn/onednn.h"
#include "support/random_parameters.h"
#include "support/small_config.h"
#include "w2vbert/nn/convolution_module.h"

namespace w2vbert::testing {
namespace {

struct Convolved {
  torch::Tensor output, grad_input, grad_weight;
};

// `conv1d` of random float16 values, and the gradients of its products with random numbers.
template <class Function>
Convolved run(const Function& conv1d, std::int64_t channels, std::int64_t kernel_size,
              std::int64_t frames) {
  torch::manual_seed(7);
  const auto options =
      torch::nn::Conv1dOptions(channels, channels, kernel_size).groups(channels).bias(false);
  Conv1d conv(options);
  conv->to(torch::kHalf);
  const auto input =
      torch::randn({2, channels, frames + kernel_size - 1}).to(torch::kHalf).requires_grad_();
  const auto output = conv1d(conv, input);
  const auto factors = torch::randn(output.sizes()).to(torch::kHalf);
  const auto gradients = torch::autograd::grad({(output * factors).sum()}, {input, conv->weight});
  return {output.detach(), gradients[0], gradients[1]};
}

Convolved run_ours(std::int64_t channels, std::int64_t kernel_size, std::int64_t frames) {
  return run([](Conv1d& conv, const torch::Tensor& x) { return conv(x); }, channels, kernel_size,
             frames);
}

// Shapes of which oneDNN's float16 kernel is built in no time.
TEST(Conv1d, GivesTheBitsAndGradientsOfLibTorchInFloat16) {
  const auto theirs = [](Conv1d& conv, const torch::Tensor& x) {
    return at::convolution(x, conv->weight, {}, {1}, {0}, {1}, false, {0}, x.size(1));
  };
  for (const auto [channels, kernel_size, frames] : {std::array<std::int64_t, 3>{20, 31, 264},
                                                     {48, 31, 50},
                                                     {96, 31, 7},
                                                     {24, 3, 33},
                                                     {1024, 31, 12}}) {
    const Convolved got = run_ours(channels, kernel_size, frames);
    const Convolved expected = run(theirs, channels, kernel_size, frames);
    EXPECT_TRUE(got.output.equal(expected.output))
        << channels << " channels, " << frames << " frames";
    EXPECT_TRUE(got.grad_input.equal(expected.grad_input)) << channels << " channels";
    EXPECT_TRUE(got.grad_weight.equal(expected.grad_weight)) << channels << " channels";
  }
}

// Shapes of which oneDNN would build it for ever; the test's time limit is the check that we do
// not.
TEST(Conv1d, ReturnsForShapesWhoseFloat16KernelIsNeverBuilt) {
  for (const std::int64_t channels : {3, 4, 8, 12, 16, 72, 80, 136, 144, 208}) {
    for (const std::int64_t frames : {71, 264}) {
      const Convolved got = run_ours(channels, 31, frames);
      const auto exact = [](Conv1d& conv, const torch::Tensor& x) {
        return at::convolution(x.to(torch::kDouble), conv->weight.to(torch::kDouble), {}, {1}, {0},
                               {1}, false, {0}, x.size(1));
      };
      const Convolved expected = run(exact, channels, 31, frames);
      const auto error = (got.output - expected.output).abs().max().item<double>();
      EXPECT_LT(error, 2e-3) << channels << " channels, " << frames << " frames";
    }
  }
}

TEST(Conv1d, IsWhatTheConvolutionModuleComputesInFloat16) {
  auto config = small_config();
  config.hidden_size = 16;
  config.conv_depthwise_kernel_size = 31;
  torch::manual_seed(8);
  const torch::NoGradGuard no_grad;
  Wav2Vec2BertConvolutionModule module(config);
  randomize_parameters(*module, 8);
  module->eval();
  const auto input = torch::randn({1, 71, 16});
  const auto in_float32 = module(input);
  module->to(torch::kHalf);
  const auto in_float16 = module(input.to(torch::kHalf));
  EXPECT_LT((in_float16 - in_float32).abs().max().item<double>(), 2e-2);
}

TEST(Conv1d, LeavesOtherTypesAndAUserWithoutOneDnnAlone) {
  torch::manual_seed(9);
  Conv1d conv(torch::nn::Conv1dOptions(20, 20, 31).groups(20).bias(false));
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
