#include "w2vbert/nn/encoder.h"

#include <gtest/gtest.h>
#include <torch/types.h>
#include <torch/utils.h>

#include <optional>
#include <string>

#include "support/random_parameters.h"
#include "support/small_config.h"

namespace w2vbert::testing {
namespace {

class Encoder : public ::testing::Test {
 protected:
  Encoder() {
    torch::manual_seed(13);
    module_ = Wav2Vec2BertEncoder(config_);
    randomize_parameters(*module_, 13);
    module_->eval();
  }
  Wav2Vec2BertEncoder::Impl::Output states(const torch::Tensor& input,
                                           const torch::Tensor& mask = {}) {
    ForwardOptions options;
    options.output_hidden_states = true;
    return module_->forward(input, mask, options);
  }
  torch::Tensor random(std::int64_t batch, std::int64_t frames) {
    return torch::randn({batch, frames, config_.hidden_size});
  }

  Wav2Vec2BertConfig config_ = small_config();
  Wav2Vec2BertEncoder module_{nullptr};
};

TEST_F(Encoder, NumbersItsStatesFromTheFirstLayersInput) {
  const torch::NoGradGuard no_grad;
  const auto input = random(2, 8);
  const auto output = states(input);
  ASSERT_EQ(output.hidden_states.size(), 4U);
  EXPECT_TRUE(output.hidden_states[0].equal(input));
  EXPECT_TRUE(output.hidden_states[3].equal(output.last_hidden_state));
  auto second =
      module_->layers[1]->as<Wav2Vec2BertEncoderLayer>()->forward(output.hidden_states[1]);
  EXPECT_TRUE(second.hidden_states.equal(output.hidden_states[2]));
}

TEST_F(Encoder, StopsAfterTheStateThatIsAskedFor) {
  const torch::NoGradGuard no_grad;
  const auto input = random(1, 5);
  const auto all = states(input).hidden_states;
  for (std::int64_t state = 0; state <= 3; ++state) {
    ForwardOptions options;
    options.stop_after = state;
    const auto output = module_->forward(input, {}, options);
    EXPECT_TRUE(output.last_hidden_state.equal(all[static_cast<std::size_t>(state)])) << state;
    EXPECT_TRUE(output.hidden_states.empty());
  }
  for (const std::int64_t state : {-1, 4}) {
    ForwardOptions options;
    options.stop_after = state;
    EXPECT_THROW(module_->forward(input, {}, options), c10::ValueError) << state;
  }
}

TEST_F(Encoder, ValidFramesDoNotSeePaddingAndAnEmptyRowIsFinite) {
  const torch::NoGradGuard no_grad;
  const auto input = random(3, 9);
  auto mask = torch::ones({3, 9}, torch::kLong);
  mask[1].slice(0, 5) = 0;
  mask[2] = 0;
  auto poisoned = input.clone();
  poisoned[1].slice(0, 5).fill_(NAN);
  const auto clean = module_->forward(input, mask).last_hidden_state;
  const auto output = module_->forward(poisoned, mask).last_hidden_state;
  EXPECT_TRUE(clean.isfinite().all().item<bool>());
  EXPECT_TRUE(output.equal(clean));
}

TEST_F(Encoder, ANanStaysInItsOwnRow) {
  const torch::NoGradGuard no_grad;
  auto input = random(3, 6);
  const auto clean = module_->forward(input).last_hidden_state;
  input[1][2].fill_(NAN);
  const auto output = module_->forward(input).last_hidden_state;
  EXPECT_TRUE(output[0].equal(clean[0]));
  EXPECT_TRUE(output[2].equal(clean[2]));
  EXPECT_TRUE(output[1].isnan().any().item<bool>());
}

TEST_F(Encoder, DropsLayersInTrainingOnlyAndListsThoseThatRan) {
  const auto input = random(1, 5);
  auto config = config_;
  config.layerdrop = 1.0;
  Wav2Vec2BertEncoder dropped(config);
  ForwardOptions options;
  options.output_hidden_states = true;
  dropped->train();
  const auto none = dropped->forward(input, {}, options);
  EXPECT_TRUE(none.hidden_states.empty());  // HF: an empty tuple
  EXPECT_TRUE(none.last_hidden_state.equal(input));
  dropped->eval();
  EXPECT_EQ(dropped->forward(input, {}, options).hidden_states.size(), 4U);
}

TEST_F(Encoder, DrawsForEachLayerUpTo522AndSinceThenWhereOneMayBeDropped) {
  const auto input = random(1, 5);
  auto config = config_;
  config.conformer_conv_dropout = 0.0;
  const auto draws = [&](HfVersion version, bool train, double layerdrop) {
    config.hf_version = version;
    config.layerdrop = layerdrop;
    Wav2Vec2BertEncoder encoder(config);
    encoder->train(train);
    torch::manual_seed(3);
    encoder->forward(input);
    const auto next = torch::rand({1}).item<float>();
    torch::manual_seed(3);
    const auto all = torch::rand({10});
    return (all == next).nonzero()[0].item<std::int64_t>();  // numbers before it
  };
  for (const HfVersion version : {HfVersion::v5_17, HfVersion::v5_22}) {
    for (const bool train : {false, true}) {
      EXPECT_EQ(draws(version, train, 0.0), config.num_hidden_layers);
      EXPECT_EQ(draws(version, train, 0.5), config.num_hidden_layers);
    }
  }
  for (const HfVersion version : {HfVersion::v5_23, kNewestHfVersion}) {
    EXPECT_EQ(draws(version, false, 0.5), 0);
    EXPECT_EQ(draws(version, true, 0.0), 0);
    EXPECT_EQ(draws(version, true, 0.5), config.num_hidden_layers);
  }
}

// As a fused model has one for a moment; with positions and without it has no parameters to compare
// its input with.
TEST_F(Encoder, WithoutLayersGivesItsInputBack) {
  auto config = config_;
  config.num_hidden_layers = 0;
  const auto input = random(2, 5);
  auto mask = torch::ones({2, 5}, torch::kLong);
  mask[1].slice(0, 3) = 0;
  const std::optional<std::string> types[] = {"relative_key", "relative", "rotary", {}};
  for (const auto& type : types) {
    config.position_embeddings_type = type;
    Wav2Vec2BertEncoder empty(config);
    empty->eval();
    ForwardOptions options;
    options.output_hidden_states = true;
    const auto output = empty->forward(input, {}, options);
    EXPECT_TRUE(output.last_hidden_state.equal(input));
    EXPECT_EQ(output.hidden_states.size(), 1U);
    EXPECT_TRUE(empty->forward(input, mask).last_hidden_state.equal(input * mask.unsqueeze(2)));
    EXPECT_THROW(empty->forward(torch::Tensor()), c10::ValueError);
    EXPECT_THROW(empty->forward(input[0]), c10::ValueError);
  }
}

}  // namespace
}  // namespace w2vbert::testing
