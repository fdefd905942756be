#include <gtest/gtest.h>
#include <torch/types.h>
#include <torch/utils.h>

#include <cmath>

#include "core/padding_mask.h"
#include "support/small_config.h"
#include "w2vbert/nn/relative_positional_embedding.h"
#include "w2vbert/nn/rotary_positional_embedding.h"
#include "w2vbert/nn/self_attention.h"

namespace w2vbert::testing {
namespace {

TEST(RelPositionalEmbedding, GivesTheSameTableWhateverItsFirstSize) {
  auto config = small_config();
  const auto input = torch::zeros({1, 30, config.hidden_size});
  config.max_source_positions = 100;
  const auto expected = Wav2Vec2BertRelPositionalEmbedding(config)->forward(input);
  EXPECT_EQ(expected.sizes(), at::IntArrayRef({1, 59, config.hidden_size}));
  for (const std::int64_t first_size : {1, 29, 30, 31}) {
    config.max_source_positions = first_size;
    Wav2Vec2BertRelPositionalEmbedding embedding(config);
    const auto before = embedding->pe.clone();
    EXPECT_TRUE(embedding->forward(input).equal(expected)) << first_size;
    EXPECT_TRUE(embedding->pe.equal(before)) << first_size;
  }
}

TEST(RelPositionalEmbedding, HasDistancesToTheLeftFirst) {
  const auto config = small_config();
  const auto table =
      Wav2Vec2BertRelPositionalEmbedding(config)->forward(torch::zeros({1, 4, config.hidden_size}));
  for (std::int64_t i = 0; i < 7; ++i) {
    EXPECT_FLOAT_EQ(table[0][i][0].item<float>(), std::sin(static_cast<float>(3 - i))) << i;
  }
}

TEST(RelPositionalEmbedding, RoundsOnceToTheInputsType) {
  const auto config = small_config();
  Wav2Vec2BertRelPositionalEmbedding embedding(config);
  const auto input = torch::zeros({1, 9, config.hidden_size});
  EXPECT_TRUE(embedding->forward(input.to(torch::kBFloat16))
                  .equal(embedding->forward(input).to(torch::kBFloat16)));
}

TEST(RotaryPositionalEmbedding, HasCosinesThenSinesOfEachFrame) {
  const auto config = small_config();
  const auto table = Wav2Vec2BertRotaryPositionalEmbedding(config)->forward(
      torch::zeros({2, 5, config.hidden_size}));
  EXPECT_EQ(table.sizes(), at::IntArrayRef({2, 5, 1, 1, config.head_size()}));
  EXPECT_FLOAT_EQ(table[0][3][0][0][0].item<float>(), std::cos(3.0F));
  EXPECT_FLOAT_EQ(table[1][3][0][0][0].item<float>(), std::sin(3.0F));
}

TEST(SelfAttentionPositions, AsksForTheEmbeddingsItNeeds) {
  auto config = small_config();
  const auto input = torch::randn({2, 6, config.hidden_size});
  for (const char* type : {"relative", "rotary"}) {
    config.position_embeddings_type = type;
    Wav2Vec2BertSelfAttention attention(config);
    EXPECT_THROW(attention->forward(input), c10::ValueError) << type;
    EXPECT_THROW(attention->forward(input, {}, torch::zeros({1, 3, 4})), c10::ValueError) << type;
  }
  config.position_embeddings_type.reset();
  EXPECT_NO_THROW(Wav2Vec2BertSelfAttention(config)->forward(input));
}

TEST(BidirectionalMask, LeavesAMaskOfOnesOutWhereItDecidesTheKernel) {
  const auto hidden_states = torch::zeros({2, 3, 4});
  const auto ones = torch::ones({2, 3}, torch::kLong);
  EXPECT_FALSE(bidirectional_mask(ones, hidden_states, true, false).defined());
  EXPECT_TRUE(bidirectional_mask(ones, hidden_states, true, true).defined());
  EXPECT_TRUE(bidirectional_mask(ones, hidden_states, false, false).defined());
  auto mask = ones.clone();
  mask[1][2] = 0;
  EXPECT_TRUE(bidirectional_mask(mask, hidden_states, true, false).defined());
}

}  // namespace
}  // namespace w2vbert::testing
