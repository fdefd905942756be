// Another default dtype of LibTorch, which a program may set for itself, changes no bit.
#include <gtest/gtest.h>
#include <torch/types.h>
#include <torch/utils.h>

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "support/default_dtype.h"
#include "support/head_config.h"
#include "support/random_parameters.h"
#include "support/small_config.h"
#include "w2vbert/features/seamless_m4t_feature_extractor.h"
#include "w2vbert/models/any_model.h"
#include "w2vbert/models/semantic_encoder.h"

namespace w2vbert::testing {
namespace {

// What `make` returns with float32 and with float64 as the default.
template <class Make>
auto with_both_defaults(const Make& make) {
  auto in_float32 = make();
  const DefaultDtype float64(torch::kDouble);
  return std::pair(std::move(in_float32), make());
}

void expect_equal(const ModelOutputs& outputs, const ModelOutputs& expected) {
  ASSERT_EQ(outputs.size(), expected.size());
  for (std::size_t i = 0; i < outputs.size(); ++i) {
    const auto& [name, tensor] = outputs[i];
    EXPECT_EQ(name, expected[i].first);
    EXPECT_EQ(tensor.scalar_type(), torch::kFloat) << name;
    EXPECT_TRUE(tensor.equal(expected[i].second)) << name;
  }
}

TEST(DefaultDtype, ChangesNoFeature) {
  std::vector<float> clip(6000);
  std::uint32_t seed = 1;
  for (float& sample : clip) {
    seed = seed * 1664525U + 1013904223U;
    sample = static_cast<float>(seed >> 8) / 16777216.0F - 0.5F;
  }
  const auto [one, other] = with_both_defaults([&] {
    return SeamlessM4TFeatureExtractor()({clip, clip});
  });
  EXPECT_EQ(other.input_features.scalar_type(), torch::kFloat);
  EXPECT_TRUE(other.input_features.equal(one.input_features));
  EXPECT_EQ(other.attention_mask.scalar_type(), torch::kLong);
  EXPECT_TRUE(other.attention_mask.equal(one.attention_mask));
}

// A new module has parameters of the default dtype, as in PyTorch; moved to float32 it computes
// what one that was made in float32 computes.
TEST(DefaultDtype, ChangesNoOutputOfAModelInFloat32) {
  const torch::NoGradGuard no_grad;
  torch::manual_seed(41);
  auto config = head_config();
  config.use_weighted_layer_sum = true;
  config.output_hidden_states = true;
  ModelInputs inputs;
  inputs.input_features = torch::randn({2, 12, config.feature_projection_input_dim});
  inputs.attention_mask = torch::ones({2, 12}, torch::kLong);
  inputs.attention_mask[1].slice(0, 9) = 0;
  const std::optional<std::string> positions[] = {"relative_key", "relative", "rotary", {}};
  for (const std::string& name : AnyModel::classes()) {
    const bool has_adapter = name == "Wav2Vec2BertModel" || name == "Wav2Vec2BertForCTC";
    config.architectures = {name};
    config.add_adapter = has_adapter;
    inputs.labels = torch::Tensor();
    if (name == "Wav2Vec2BertForCTC") inputs.labels = torch::ones({2, 1}, torch::kLong);
    if (name == "Wav2Vec2BertForXVector" || name == "Wav2Vec2BertForSequenceClassification") {
      inputs.labels = torch::tensor({0, 2});
    }
    for (const auto& type : positions) {
      for (const char* attention : {"eager", "sdpa"}) {
        config.position_embeddings_type = type;
        config.attn_implementation = attention;
        SCOPED_TRACE(name + ", " + type.value_or("null") + ", " + attention);
        const auto [one, other] = with_both_defaults([&] {
          AnyModel model(config);
          model->to(torch::kFloat);
          randomize_parameters(*model, 41);
          model->eval();
          return model.forward(inputs);
        });
        expect_equal(other, one);
      }
    }
  }
}

// As it is kept from before, or cloned.
TEST(DefaultDtype, LeavesALoadedModelItsBits) {
  const torch::NoGradGuard no_grad;
  torch::manual_seed(42);
  auto config = small_config();
  config.position_embeddings_type = "rotary";
  Wav2Vec2BertModel model(config);
  randomize_parameters(*model, 42);
  SemanticEncoder encoder(model, torch::randn({config.hidden_size}),
                          torch::rand({config.hidden_size}) + 0.1, 2);
  encoder->eval();
  const auto input = torch::randn({2, 12, config.feature_projection_input_dim});
  const auto [one, other] = with_both_defaults([&] { return encoder->encode(input); });
  EXPECT_TRUE(other.equal(one));
  const auto [first, second] = with_both_defaults([&] {
    const auto copy = encoder->clone();
    for (const auto& item : copy->named_parameters()) {
      EXPECT_EQ(item.value().scalar_type(), torch::kFloat) << item.key();
    }
    return copy->as<SemanticEncoder>()->encode(input);
  });
  EXPECT_TRUE(first.equal(one));
  EXPECT_TRUE(second.equal(one));
}

}  // namespace
}  // namespace w2vbert::testing
