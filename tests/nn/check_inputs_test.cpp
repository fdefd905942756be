// Every public forward answers a tensor that does not fit with a c10::ValueError that names the
// argument, and works on afterwards.
#include "nn/check_inputs.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <torch/types.h>
#include <torch/utils.h>

#include <cmath>
#include <functional>

#include "support/random_parameters.h"
#include "support/small_config.h"
#include "w2vbert/nn/adapter.h"
#include "w2vbert/nn/convolution_module.h"
#include "w2vbert/nn/encoder.h"
#include "w2vbert/nn/feature_projection.h"
#include "w2vbert/nn/feed_forward.h"

namespace w2vbert::testing {
namespace {

using ::testing::HasSubstr;
using ::testing::StartsWith;

constexpr std::int64_t kBatch = 2, kFrames = 6;

struct Forward {
  const char* name;
  const char* argument;
  std::function<torch::Tensor(const torch::Tensor&)> run;
  std::int64_t width;
};

std::vector<Forward> forwards() {
  const auto config = small_config();
  const auto wide = config.hidden_size;
  Wav2Vec2BertFeatureProjection projection(config);
  Wav2Vec2BertFeedForward feed_forward(config);
  Wav2Vec2BertConvolutionModule convolution(config);
  Wav2Vec2BertSelfAttention attention(config);
  Wav2Vec2BertEncoderLayer layer(config);
  Wav2Vec2BertEncoder encoder(config);
  randomize_parameters(*projection, 1);
  randomize_parameters(*feed_forward, 2);
  randomize_parameters(*convolution, 3);
  randomize_parameters(*attention, 4);
  randomize_parameters(*layer, 5);
  randomize_parameters(*encoder, 6);
  convolution->eval();
  layer->eval();
  encoder->eval();
  return {
      {"feature_projection", "input_features",
       [=](const torch::Tensor& x) mutable { return projection->forward(x).hidden_states; },
       config.feature_projection_input_dim},
      {"feed_forward", "hidden_states",
       [=](const torch::Tensor& x) mutable { return feed_forward->forward(x); }, wide},
      {"convolution", "hidden_states",
       [=](const torch::Tensor& x) mutable { return convolution->forward(x); }, wide},
      {"attention", "hidden_states",
       [=](const torch::Tensor& x) mutable { return attention->forward(x).attn_output; }, wide},
      {"layer", "hidden_states",
       [=](const torch::Tensor& x) mutable { return layer->forward(x).hidden_states; }, wide},
      {"encoder", "hidden_states",
       [=](const torch::Tensor& x) mutable { return encoder->forward(x).last_hidden_state; }, wide},
  };
}

std::string error_of(const std::function<void()>& call) {
  try {
    call();
  } catch (const c10::ValueError& error) {
    return error.what_without_backtrace();
  } catch (const std::exception& error) {
    return std::string("another exception: ") + error.what();
  }
  return "no exception";
}

TEST(CheckInputs, EveryForwardRefusesWhatIsNoBatchOfFrames) {
  torch::manual_seed(1);
  const torch::NoGradGuard no_grad;
  for (const Forward& forward : forwards()) {
    const auto good = torch::randn({kBatch, kFrames, forward.width});
    const auto before = forward.run(good);
    const std::pair<torch::Tensor, const char*> bad[] = {
        {torch::Tensor(), "undefined"},
        {good[0], "shape [6, "},
        {good[0][0], "shape ["},
        {good.unsqueeze(0), "shape [1, 2, 6, "},
        {good.slice(2, 1), "shape [2, 6, "},
        {good.slice(0, 0, 0), "shape [0, 6, "},
        {good.slice(1, 0, 0), "shape [2, 0, "},
        {good.to(torch::kDouble), "Double"},
        {good.to(torch::kHalf), "Half"},
        {good.to(torch::kLong), "Long"},
        {good.to(torch::kBool), "Bool"},
        {good.to(torch::kComplexFloat), "ComplexFloat"},
        {good.to(torch::kMeta), "on meta"},
        {good.to_sparse(), "Sparse"},
        {good.to_mkldnn(), "Mkldnn"},
        {torch::quantize_per_tensor(good, 0.1, 0, torch::kQInt8), "quantized"},
    };
    for (const auto& [tensor, problem] : bad) {
      const auto message = error_of([&, tensor = tensor] { forward.run(tensor); });
      EXPECT_THAT(message, StartsWith(std::string(forward.argument) + ": ")) << forward.name;
      EXPECT_THAT(message, HasSubstr(problem)) << forward.name;
      EXPECT_THAT(message, HasSubstr("expected")) << forward.name;
    }
    EXPECT_TRUE(forward.run(good).equal(before)) << forward.name;
  }
}

TEST(CheckInputs, EveryForwardTakesOneFrameViewsAndGradients) {
  torch::manual_seed(2);
  for (const Forward& forward : forwards()) {
    EXPECT_EQ(forward.run(torch::randn({1, 1, forward.width})).size(1), 1) << forward.name;
    const auto plain = torch::randn({kBatch, kFrames, forward.width});
    const auto expected = forward.run(plain);
    const auto view = plain.transpose(1, 2).contiguous().transpose(1, 2);
    ASSERT_FALSE(view.is_contiguous());
    EXPECT_LT((forward.run(view) - expected).abs().max().item<float>(), 1e-5F) << forward.name;
    auto leaf = plain.clone().requires_grad_();
    forward.run(leaf).sum().backward();
    EXPECT_TRUE(leaf.grad().isfinite().all().item<bool>()) << forward.name;
  }
}

TEST(CheckInputs, AMaskIsZerosAndOnesForEveryFrame) {
  const auto states = torch::zeros({kBatch, kFrames, 3});
  const auto ones = torch::ones({kBatch, kFrames}, torch::kLong);
  for (const auto type : {torch::kLong, torch::kInt, torch::kBool, torch::kFloat}) {
    const auto valid = check_attention_mask(ones.to(type), "mask", states);
    EXPECT_TRUE(valid.equal(ones.to(torch::kBool))) << type;
  }
  EXPECT_FALSE(check_attention_mask({}, "mask", states).defined());
  const std::pair<torch::Tensor, const char*> bad[] = {
      {ones[0], "shape [6]"},
      {ones.slice(0, 0, 1), "shape [1, 6]"},
      {ones.slice(1, 1), "shape [2, 5]"},
      {ones.unsqueeze(1), "shape [2, 1, 6]"},
      {ones * 2, "other values"},
      {-ones, "other values"},
      {ones.to(torch::kFloat) * 0.5, "other values"},
      {ones.to(torch::kFloat) * NAN, "other values"},
      {ones.to(torch::kComplexFloat), "ComplexFloat"},
      {ones.to(torch::kMeta), "on meta"},
      {ones.to_sparse(), "Sparse"},
  };
  for (const auto& [mask, problem] : bad) {
    const auto message = error_of([&, mask = mask] { check_attention_mask(mask, "mask", states); });
    EXPECT_THAT(message, StartsWith("mask: "));
    EXPECT_THAT(message, HasSubstr(problem));
  }
}

// Called directly, without the model that looks at the mask for them.
TEST(CheckInputs, EveryModuleThatTakesAMaskLooksAtIt) {
  torch::manual_seed(3);
  const torch::NoGradGuard no_grad;
  auto config = small_config();
  config.output_hidden_size = config.hidden_size;
  Wav2Vec2BertConvolutionModule convolution(config);
  Wav2Vec2BertEncoderLayer layer(config);
  Wav2Vec2BertEncoder encoder(config);
  Wav2Vec2BertAdapter adapter(config);
  const auto states = torch::randn({kBatch, kFrames, config.hidden_size});
  const auto ones = torch::ones({kBatch, kFrames}, torch::kLong);
  const std::pair<torch::Tensor, const char*> bad[] = {
      {ones.slice(0, 0, 1), "shape [1, 6]"},
      {ones * 2, "holds other values, expected zeros and ones"},
      {ones.to(torch::kMeta), "on meta"},
  };
  const std::pair<const char*, std::function<void(const torch::Tensor&)>> modules[] = {
      {"convolution", [&](const torch::Tensor& mask) { convolution->forward(states, mask); }},
      {"layer", [&](const torch::Tensor& mask) { layer->forward(states, {}, {}, mask); }},
      {"encoder", [&](const torch::Tensor& mask) { encoder->forward(states, mask); }},
      {"adapter", [&](const torch::Tensor& mask) { adapter->forward(states, mask); }},
  };
  for (const auto& [name, forward] : modules) {
    for (const auto& [mask, problem] : bad) {
      const auto message = error_of([forward = forward, mask = mask] { forward(mask); });
      EXPECT_THAT(message, StartsWith("attention_mask: ")) << name;
      EXPECT_THAT(message, HasSubstr(problem)) << name;
    }
    EXPECT_NO_THROW(forward(ones)) << name;
  }
}

}  // namespace
}  // namespace w2vbert::testing
