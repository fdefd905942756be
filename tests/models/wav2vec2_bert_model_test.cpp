#include "w2vbert/models/wav2vec2_bert_model.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <torch/types.h>
#include <torch/utils.h>

#include <cmath>
#include <thread>

#include "support/random_parameters.h"
#include "support/small_config.h"
#include "w2vbert/models/semantic_encoder.h"

namespace w2vbert::testing {
namespace {

class BaseModel : public ::testing::Test {
 protected:
  BaseModel() {
    torch::manual_seed(21);
    model_ = Wav2Vec2BertModel(config_);
    randomize_parameters(*model_, 21);
    model_->eval();
  }
  torch::Tensor features(std::int64_t batch, std::int64_t frames) const {
    return torch::randn({batch, frames, config_.feature_projection_input_dim});
  }

  const torch::NoGradGuard no_grad_;
  const Wav2Vec2BertConfig config_ = small_config();
  Wav2Vec2BertModel model_{nullptr};
};

TEST_F(BaseModel, TheSameSeedGivesTheSameModelAndAnotherAnother) {
  const auto seeded = [&](std::uint64_t seed) {
    torch::manual_seed(seed);
    return Wav2Vec2BertModel(config_);
  };
  const auto model = seeded(21), twin = seeded(21), other = seeded(22);
  for (const auto& item : model->named_parameters()) {
    EXPECT_TRUE(item.value().equal(twin->named_parameters()[item.key()])) << item.key();
  }
  EXPECT_FALSE(model->masked_spec_embed.equal(other->masked_spec_embed));
}

// HF: `initializer_range or 0.02`.
TEST_F(BaseModel, AnInitializerRangeOfZeroCountsAsAbsent) {
  auto config = config_;
  const auto weight_with = [&](double range) {
    config.initializer_range = range;
    torch::manual_seed(21);
    return Wav2Vec2BertModel(config)
        ->named_parameters()["encoder.layers.0.ffn1.output_dense.weight"];
  };
  EXPECT_TRUE(weight_with(0.0).equal(weight_with(0.02)));
  EXPECT_FALSE(weight_with(0.03).equal(weight_with(0.02)));
}

TEST_F(BaseModel, ReplacesMarkedFramesAlsoInEvaluation) {
  const auto input = features(2, 5);
  auto marked = torch::zeros({2, 5}, torch::kBool);
  marked[0][3] = true;
  ForwardOptions first;
  first.stop_after = 0;
  const auto plain = model_->forward(input, {}, {}, first).last_hidden_state;
  const auto output = model_->forward(input, {}, marked, first).last_hidden_state;
  EXPECT_TRUE(output[0][3].equal(model_->masked_spec_embed));
  EXPECT_TRUE(output[1].equal(plain[1]));
  EXPECT_TRUE(output[0][2].equal(plain[0][2]));
  EXPECT_THROW(model_->forward(input, {}, marked.to(torch::kLong)), c10::ValueError);
  EXPECT_THROW(model_->forward(input, {}, marked.slice(1, 1)), c10::ValueError);
}

TEST_F(BaseModel, ACloneHasWeightsOfItsOwn) {
  const auto copy = std::dynamic_pointer_cast<Wav2Vec2BertModelImpl>(model_->clone());
  ASSERT_NE(copy, nullptr);
  const auto input = features(1, 6);
  EXPECT_TRUE(
      copy->forward(input).last_hidden_state.equal(model_->forward(input).last_hidden_state));
  for (auto& parameter : copy->parameters()) parameter.zero_();
  EXPECT_FALSE(
      copy->forward(input).last_hidden_state.equal(model_->forward(input).last_hidden_state));
}

TEST_F(BaseModel, ComputesInTheTypeItIsMovedTo) {
  for (const auto type : {torch::kBFloat16, torch::kHalf, torch::kDouble}) {
    Wav2Vec2BertModel moved(config_);
    randomize_parameters(*moved, 23);
    moved->to(type);
    moved->eval();
    const auto output = moved->forward(features(1, 7).to(type)).last_hidden_state;
    EXPECT_EQ(output.scalar_type(), type);
    EXPECT_TRUE(output.isfinite().all().item<bool>()) << type;
    EXPECT_THROW(moved->forward(features(1, 7)), c10::ValueError) << type;
  }
}

TEST_F(BaseModel, TwoThreadsOnOneModelDoNotDisturbEachOther) {
  const auto input = features(2, 40);
  const auto expected = model_->forward(input).last_hidden_state;
  std::vector<torch::Tensor> outputs(4);
  std::vector<std::thread> threads;
  for (auto& output : outputs) {
    threads.emplace_back([&] {
      const torch::NoGradGuard no_grad;
      for (int i = 0; i < 5; ++i) output = model_->forward(input).last_hidden_state;
    });
  }
  for (auto& thread : threads) thread.join();
  for (const auto& output : outputs) EXPECT_TRUE(output.equal(expected));
}

TEST_F(BaseModel, StopsBeforeTheAdapterWhenOneStateIsWanted) {
  auto config = config_;
  config.add_adapter = true;
  config.use_intermediate_ffn_before_adapter = true;
  config.output_hidden_size = 12;
  Wav2Vec2BertModel model(config);
  randomize_parameters(*model, 24);
  model->eval();
  const auto input = features(2, 9);
  ForwardOptions options;
  options.output_hidden_states = true;
  const auto all = model->forward(input, {}, {}, options);
  EXPECT_EQ(all.last_hidden_state.sizes(), at::IntArrayRef({2, 5, 12}));
  options.stop_after = 3;
  EXPECT_TRUE(
      model->forward(input, {}, {}, options).last_hidden_state.equal(all.hidden_states->at(3)));
}

TEST_F(BaseModel, EndsItsStatesWithTheAdaptersOutputWhereTheyAreTied) {
  auto config = config_;
  config.add_adapter = true;
  config.output_hidden_size = 12;
  config.tie_last_hidden_states = true;
  const auto input = features(2, 9);
  ForwardOptions options;
  options.output_hidden_states = true;
  const auto run = [&] {
    Wav2Vec2BertModel model(config);
    randomize_parameters(*model, 26);
    model->eval();
    return model->forward(input, {}, {}, options);
  };
  const auto tied = run();
  EXPECT_EQ(tied.hidden_states->size(), 4U);
  EXPECT_TRUE(tied.hidden_states->back().equal(tied.last_hidden_state));
  config.hf_version = HfVersion::v5_17;
  const auto older = run();
  EXPECT_EQ(older.hidden_states->back().sizes(), at::IntArrayRef({2, 9, config.hidden_size}));
  config.hf_version = kNewestHfVersion;
  config.tie_last_hidden_states = false;
  EXPECT_TRUE(run().hidden_states->back().equal(older.hidden_states->back()));
  config.tie_last_hidden_states = true;
  options.stop_after = 3;  // without the adapter
  EXPECT_TRUE(run().hidden_states->back().equal(older.hidden_states->back()));
}

TEST_F(BaseModel, WithAllLayersDroppedHasTheStatesOfTheRelease) {
  auto config = config_;
  config.layerdrop = 1.0;
  config.apply_spec_augment = false;
  config.tie_last_hidden_states = true;
  ForwardOptions options;
  options.output_hidden_states = true;
  const auto states = [&](HfVersion version) {
    config.hf_version = version;
    Wav2Vec2BertModel model(config);
    model->train();
    return model->forward(features(1, 9), {}, {}, options).hidden_states->size();
  };
  EXPECT_EQ(states(HfVersion::v5_17), 0U);
  EXPECT_EQ(states(HfVersion::v5_22), 1U);
  EXPECT_EQ(states(HfVersion::v5_23), 0U);
}

TEST_F(BaseModel, TheAdapterDrawsForItsLayersAsTheEncoderDoes) {
  auto config = config_;
  config.add_adapter = true;
  config.num_adapter_layers = 2;
  config.layerdrop = 0.0;
  const auto draws = [&](HfVersion version) {
    config.hf_version = version;
    Wav2Vec2BertModel model(config);
    model->eval();
    const auto input = features(1, 9);
    torch::manual_seed(3);
    model->forward(input);
    const auto next = torch::rand({1}).item<float>();
    torch::manual_seed(3);
    return (torch::rand({10}) == next).nonzero()[0].item<std::int64_t>();  // numbers before it
  };
  EXPECT_EQ(draws(HfVersion::v5_22), config.num_hidden_layers + config.num_adapter_layers);
  EXPECT_EQ(draws(HfVersion::v5_23), 0);
}

TEST_F(BaseModel, DrawsTheMasksOfSpecAugmentFromTheGeneratorItIsGiven) {
  auto config = config_;
  config.mask_time_length = 3;
  config.layerdrop = 0.0;
  config.conformer_conv_dropout = 0.0;
  Wav2Vec2BertModel model(config);
  randomize_parameters(*model, 25);
  model->train();
  const auto input = features(2, 20);
  const auto states = [&](std::uint32_t seed) {
    NumpyRandom random(seed);
    ForwardOptions options;
    options.spec_augment_random = &random;
    return model->forward(input, {}, {}, options).last_hidden_state;
  };
  EXPECT_TRUE(states(5).equal(states(5)));
  EXPECT_FALSE(states(5).equal(states(6)));
  try {
    model->forward(features(1, 2));
    FAIL() << "2 frames are shorter than a span";
  } catch (const c10::ValueError& error) {
    EXPECT_THAT(error.msg(), ::testing::HasSubstr("mask_time_length: 3, expected at most the 2"));
  }
}

TEST_F(BaseModel, SemanticEncoderNormalisesItsStateAndRunsNoLaterLayer) {
  const auto mean = torch::randn({config_.hidden_size});
  const auto var = torch::rand({config_.hidden_size}) + 0.1;
  SemanticEncoder encoder(model_, mean, var, 2);
  const auto input = features(2, 6);
  auto mask = torch::ones({2, 6}, torch::kLong);
  mask[1].slice(0, 4) = 0;
  ForwardOptions all;
  all.output_hidden_states = true;
  const auto state = model_->forward(input, mask, {}, all).hidden_states->at(2);
  EXPECT_TRUE(encoder->encode(input, mask).equal((state - mean) / torch::sqrt(var)));
  EXPECT_TRUE(SemanticEncoder(model_, torch::Tensor(), torch::Tensor(), 2)
                  ->encode(input, mask)
                  .equal(state));
  // Poisoned, the last layer would show.
  for (auto& parameter : model_->encoder->layers[2]->parameters()) parameter.fill_(NAN);
  EXPECT_TRUE(encoder->encode(input, mask).isfinite().all().item<bool>());

  EXPECT_THROW(SemanticEncoder(model_, mean, var, 4), c10::ValueError);
  EXPECT_THROW(SemanticEncoder(model_, mean, torch::Tensor(), 2), c10::ValueError);
  EXPECT_THROW(SemanticEncoder(model_, mean.slice(0, 1), var, 2), c10::ValueError);
  for (const float bad : {0.0F, -1.0F, 1e-40F, INFINITY, NAN}) {
    auto wrong = var.clone();
    wrong[3] = bad;
    try {
      const SemanticEncoder made(model_, mean, wrong, 2);
      FAIL() << bad;
    } catch (const c10::ValueError& error) {
      EXPECT_THAT(error.msg(), ::testing::HasSubstr("at index 3, expected finite numbers"));
    }
    if (std::isfinite(bad)) continue;  // a mean may be any number
    EXPECT_THROW(SemanticEncoder(model_, wrong, var, 2), c10::ValueError) << bad;
  }
  EXPECT_NO_THROW(SemanticEncoder(model_, -mean.abs(), var, 2));
  EXPECT_EQ(SemanticEncoderImpl::kDefaultState, 17);
}

}  // namespace
}  // namespace w2vbert::testing
