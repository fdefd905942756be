// Every public forward answers a tensor that does not fit with a c10::ValueError that names the
// argument, and works on afterwards.
#include "nn/check_inputs.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <torch/types.h>
#include <torch/utils.h>

#include <cmath>
#include <functional>
#include <string>
#include <utility>

#include "support/error_message.h"
#include "support/random_parameters.h"
#include "support/small_config.h"
#include "support/value_error.h"
#include "w2vbert/core/error.h"
#include "w2vbert/nn/adapter.h"
#include "w2vbert/nn/am_softmax_loss.h"
#include "w2vbert/nn/convolution_module.h"
#include "w2vbert/nn/encoder.h"
#include "w2vbert/nn/feature_projection.h"
#include "w2vbert/nn/feed_forward.h"
#include "w2vbert/nn/initialization.h"
#include "w2vbert/nn/tdnn_layer.h"

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
      const auto message = value_error_of([&, tensor = tensor] { forward.run(tensor); });
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
    const auto message =
        value_error_of([&, mask = mask] { check_attention_mask(mask, "mask", states); });
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
  struct Module {
    const char* name;
    const char* argument;
    std::function<void(const torch::Tensor& states, const torch::Tensor& mask)> forward;
  };
  using Tensor = torch::Tensor;
  const Module modules[] = {
      {"convolution", "attention_mask",
       [&](const Tensor& x, const Tensor& mask) { convolution->forward(x, mask); }},
      {"layer", "conv_attention_mask",
       [&](const Tensor& x, const Tensor& mask) { layer->forward(x, {}, {}, mask); }},
      {"encoder", "attention_mask",
       [&](const Tensor& x, const Tensor& mask) { encoder->forward(x, mask); }},
      {"adapter", "attention_mask",
       [&](const Tensor& x, const Tensor& mask) { adapter->forward(x, mask); }},
  };
  for (const Module& module : modules) {
    for (const auto& [mask, problem] : bad) {
      const auto message = value_error_of([&, mask = mask] { module.forward(states, mask); });
      EXPECT_THAT(message, StartsWith(std::string(module.argument) + ": ")) << module.name;
      EXPECT_THAT(message, HasSubstr(problem)) << module.name;
    }
    // The mask is compared with the hidden states, so these come first.
    for (const auto& wrong : {torch::Tensor(), states[0][0], states[0]}) {
      EXPECT_THAT(value_error_of([&] { module.forward(wrong, ones); }),
                  StartsWith("hidden_states: "))
          << module.name;
    }
    EXPECT_NO_THROW(module.forward(states, ones)) << module.name;
  }
}

TEST(CheckInputs, AttentionRefusesMasksAndPositionsOfAnotherDeviceOrLayout) {
  torch::manual_seed(4);
  const torch::NoGradGuard no_grad;
  auto config = small_config();
  const auto states = torch::randn({kBatch, kFrames, config.hidden_size});
  for (const char* attention : {"eager", "sdpa"}) {
    config.attn_implementation = attention;
    config.position_embeddings_type = "relative";
    Wav2Vec2BertSelfAttention module(config);
    const auto positions = Wav2Vec2BertRelPositionalEmbedding(config)->forward(states);
    auto mask = torch::ones({kBatch, 1, kFrames, kFrames}, torch::kBool);
    if (config.attn_implementation == "eager") mask = torch::zeros(mask.sizes());
    EXPECT_NO_THROW(module->forward(states, mask, positions));
    for (const auto& [wrong, problem] :
         {std::pair(mask.to(torch::kMeta), "on meta"), std::pair(mask.to_sparse(), "Sparse")}) {
      const auto message =
          value_error_of([&, wrong = wrong] { module->forward(states, wrong, positions); });
      EXPECT_THAT(message, StartsWith("attention_mask: "));
      EXPECT_THAT(message, HasSubstr(problem));
    }
    for (const auto& [wrong, problem] : {std::pair(positions.to(torch::kMeta), "on meta"),
                                         std::pair(positions.to_sparse(), "Sparse")}) {
      const auto message =
          value_error_of([&, wrong = wrong] { module->forward(states, mask, wrong); });
      EXPECT_THAT(message, StartsWith("relative_position_embeddings: "));
      EXPECT_THAT(message, HasSubstr(problem));
    }
  }
}

TEST(CheckInputs, TheSmallModulesLookAtTheirsToo) {
  torch::manual_seed(5);
  const torch::NoGradGuard no_grad;
  auto config = small_config();
  const auto undefined = torch::Tensor();
  EXPECT_THAT(value_error_of([&] { Linear(3, 2)->forward(undefined); }),
              StartsWith("input: undefined"));
  for (const char* name : {"gelu", "prelu"}) {
    EXPECT_THAT(value_error_of([&] { Activation(name, "hidden_act")->forward(undefined); }),
                StartsWith("input: undefined"));
  }
  const auto states = torch::randn({kBatch, kFrames, config.hidden_size});
  Wav2Vec2BertRelPositionalEmbedding relative(config);
  Wav2Vec2BertRotaryPositionalEmbedding rotary(config);
  for (const auto& wrong : {undefined, states[0], states.slice(2, 1), states.slice(1, 0, 0)}) {
    EXPECT_THAT(value_error_of([&] { relative->forward(wrong); }), StartsWith("hidden_states: "));
    EXPECT_THAT(value_error_of([&] { rotary->forward(wrong); }), StartsWith("hidden_states: "));
  }

  Wav2Vec2BertAdapterLayer layer(config);
  const auto lengths = torch::tensor({3, 2});
  EXPECT_NO_THROW(layer->forward(states, lengths));
  for (const auto& wrong : {lengths[0], lengths.slice(0, 1), lengths.unsqueeze(1),
                            lengths.to(torch::kMeta), lengths.to(torch::kBool)}) {
    EXPECT_THAT(value_error_of([&] { layer->forward(states, wrong); }),
                StartsWith("sub_sampled_lengths: "));
  }

  AMSoftmaxLoss loss(4, 3);
  const auto embeddings = torch::randn({2, 4});
  const auto labels = torch::tensor({0, 2});
  EXPECT_NO_THROW(loss->forward(embeddings, labels));
  for (const auto& wrong : {undefined, embeddings[0], embeddings.slice(1, 1),
                            embeddings.to(torch::kDouble), embeddings.to(torch::kMeta)}) {
    EXPECT_THAT(value_error_of([&] { loss->forward(wrong, labels); }),
                StartsWith("hidden_states: "));
  }
  for (const auto& wrong : {undefined, labels.slice(0, 1), labels.to(torch::kInt)}) {
    EXPECT_THAT(value_error_of([&] { loss->forward(embeddings, wrong); }), StartsWith("labels: "));
  }
}

// A module may be made without a model, which would have checked its config.
TEST(CheckConfig, EveryModuleRefusesWhatItCouldNotComputeWith) {
  const std::pair<const char*, std::function<void(const Wav2Vec2BertConfig&)>> modules[] = {
      {"projection", [](const auto& config) { Wav2Vec2BertFeatureProjection module(config); }},
      {"feed_forward", [](const auto& config) { Wav2Vec2BertFeedForward module(config); }},
      {"convolution", [](const auto& config) { Wav2Vec2BertConvolutionModule module(config); }},
      {"attention", [](const auto& config) { Wav2Vec2BertSelfAttention module(config); }},
      {"layer", [](const auto& config) { Wav2Vec2BertEncoderLayer module(config); }},
      {"encoder", [](const auto& config) { Wav2Vec2BertEncoder module(config); }},
      {"relative", [](const auto& config) { Wav2Vec2BertRelPositionalEmbedding module(config); }},
      {"rotary", [](const auto& config) { Wav2Vec2BertRotaryPositionalEmbedding module(config); }},
      {"adapter", [](const auto& config) { Wav2Vec2BertAdapter module(config); }},
      {"adapter_layer", [](const auto& config) { Wav2Vec2BertAdapterLayer module(config); }},
      {"tdnn", [](const auto& config) { TDNNLayer module(config); }},
  };
  const std::pair<const char*, std::int64_t Wav2Vec2BertConfig::*> sizes[] = {
      {"num_attention_heads", &Wav2Vec2BertConfig::num_attention_heads},
      {"hidden_size", &Wav2Vec2BertConfig::hidden_size},
      {"adapter_stride", &Wav2Vec2BertConfig::adapter_stride},
  };
  for (const auto& [name, make] : modules) {
    EXPECT_NO_THROW(make(small_config())) << name;
    for (const auto& [key, size] : sizes) {
      for (const std::int64_t value : {0, -1}) {
        auto config = small_config();
        config.*size = value;
        const SkipInitialization skip;  // as a checkpoint is loaded
        EXPECT_THAT(message_of<ConfigError>([&, make = make] { make(config); }),
                    HasSubstr(std::string(key) + ": " + std::to_string(value)))
            << name;
      }
    }
  }
  auto config = small_config();
  config.output_hidden_size = config.hidden_size + 1;  // three heads
  EXPECT_NO_THROW(Wav2Vec2BertSelfAttention{config});
  EXPECT_THAT(message_of<ConfigError>([&] { Wav2Vec2BertAdapterLayer layer(config); }),
              HasSubstr("output_hidden_size: 25, expected a multiple of num_attention_heads = 3"));
  for (const std::int64_t layer_id : {-1, 5}) {
    EXPECT_THAT(value_error_of([&] { TDNNLayer layer(config, layer_id); }),
                StartsWith("layer_id: " + std::to_string(layer_id)));
  }
}

}  // namespace
}  // namespace w2vbert::testing
