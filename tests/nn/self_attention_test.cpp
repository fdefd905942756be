#include "w2vbert/nn/self_attention.h"

#include <gtest/gtest.h>
#include <torch/types.h>
#include <torch/utils.h>

#include <algorithm>
#include <cmath>

#include "core/padding_mask.h"
#include "support/random_parameters.h"
#include "support/small_config.h"

namespace w2vbert::testing {
namespace {

class SelfAttention : public ::testing::TestWithParam<const char*> {
 protected:
  SelfAttention() {
    torch::manual_seed(12);
    config_.attn_implementation = GetParam();
    module_ = Wav2Vec2BertSelfAttention(config_);
    randomize_parameters(*module_, 12);
    module_->eval();
    module_->to(torch::kDouble);
  }
  bool sdpa() const { return config_.attn_implementation == "sdpa"; }
  Wav2Vec2BertSelfAttention make() const {
    Wav2Vec2BertSelfAttention module(config_);
    randomize_parameters(*module, 14);
    module->eval();
    module->to(torch::kDouble);
    return module;
  }
  // (T, C) -> (T, H, D)
  torch::Tensor projected(const Linear& linear, const torch::Tensor& rows) const {
    return (rows.matmul(linear->weight.t()) + linear->bias)
        .view({rows.size(0), config_.num_attention_heads, config_.head_size()});
  }
  // What attention gives for `scores` (H, T, T), not yet scaled, and the values of `rows` (T, C).
  torch::Tensor mixed(const Wav2Vec2BertSelfAttention& module, const torch::Tensor& scores,
                      const torch::Tensor& rows) const {
    const auto weights =
        torch::softmax(scores / std::sqrt(static_cast<double>(config_.head_size())), -1);
    return torch::einsum("hqk,khd->qhd", {weights, projected(module->linear_v, rows)})
               .flatten(1)
               .matmul(module->linear_out->weight.t()) +
           module->linear_out->bias;
  }

  const torch::NoGradGuard no_grad_;
  Wav2Vec2BertConfig config_ = small_config();
  Wav2Vec2BertSelfAttention module_{nullptr};
};

// Scores, softmax and sum pair by pair.
TEST_P(SelfAttention, AddsToEachScoreTheQuerysProductWithItsDistance) {
  const std::int64_t frames = 11, size = config_.head_size(), heads = config_.num_attention_heads;
  const auto input = torch::randn({1, frames, config_.hidden_size}, torch::kDouble);
  const auto projected = [&](const Linear& linear) {
    return (input[0].matmul(linear->weight.t()) + linear->bias).view({frames, heads, size});
  };
  const auto query = projected(module_->linear_q), key = projected(module_->linear_k);
  const auto value = projected(module_->linear_v);
  const auto& distances = module_->distance_embedding->weight;
  auto mixed = torch::zeros({frames, heads, size}, torch::kDouble);
  for (std::int64_t head = 0; head < heads; ++head) {
    for (std::int64_t q = 0; q < frames; ++q) {
      auto scores = torch::zeros({frames}, torch::kDouble);
      for (std::int64_t k = 0; k < frames; ++k) {
        // Keys to the right have the larger index.
        const auto distance = std::clamp(k - q, -config_.left_max_position_embeddings,
                                         config_.right_max_position_embeddings);
        const auto row = distances[distance + config_.left_max_position_embeddings];
        scores[k] = query[q][head].dot(key[k][head] + row) / std::sqrt(static_cast<double>(size));
      }
      mixed[q][head] = value.select(1, head).t().mv(torch::softmax(scores, 0));
    }
  }
  const auto expected =
      mixed.view({frames, -1}).matmul(module_->linear_out->weight.t()) + module_->linear_out->bias;
  const auto output = module_->forward(input).attn_output;
  EXPECT_LT((output[0] - expected).abs().max().item<double>(), 1e-12);
}

// HF: _apply_relative_position_encoding. Distances to the left are positive, and stand first.
TEST_P(SelfAttention, AddsInRelativePositionsTheProductWithEachDistancesProjection) {
  config_.position_embeddings_type = "relative";
  auto module = make();
  const std::int64_t frames = 7, size = config_.head_size(), heads = config_.num_attention_heads;
  const auto input = torch::randn({1, frames, config_.hidden_size}, torch::kDouble);
  const auto table = torch::randn({1, 2 * frames - 1, config_.hidden_size}, torch::kDouble);
  const auto query = projected(module->linear_q, input[0]);
  const auto key = projected(module->linear_k, input[0]);
  const auto distance = table[0].matmul(module->linear_pos->weight.t()).view({-1, heads, size});
  auto scores = torch::zeros({heads, frames, frames}, torch::kDouble);
  for (std::int64_t head = 0; head < heads; ++head) {
    for (std::int64_t q = 0; q < frames; ++q) {
      for (std::int64_t k = 0; k < frames; ++k) {
        const auto row = frames - 1 - (q - k);
        scores[head][q][k] = (query[q][head] + module->pos_bias_u[head]).dot(key[k][head]) +
                             (query[q][head] + module->pos_bias_v[head]).dot(distance[row][head]);
      }
    }
  }
  const auto output = module->forward(input, {}, table).attn_output;
  EXPECT_LT((output[0] - mixed(module, scores, input[0])).abs().max().item<double>(), 1e-12);
}

// HF: _apply_rotary_embedding, on what is projected to queries and keys.
TEST_P(SelfAttention, RotatesTheInputOfQueriesAndKeysByTheAnglesOfTheirFrame) {
  config_.position_embeddings_type = "rotary";
  auto module = make();
  const std::int64_t frames = 7, size = config_.head_size(), heads = config_.num_attention_heads;
  const auto input = torch::randn({1, frames, config_.hidden_size}, torch::kDouble);
  const auto table = torch::randn({2, frames, 1, 1, size}, torch::kDouble);  // cosines, sines
  auto rotated = input[0].clone();
  for (std::int64_t t = 0; t < frames; ++t) {
    for (std::int64_t channel = 0; channel < config_.hidden_size; ++channel) {
      const auto d = channel % size;
      const bool begin = d < size / 2;
      const auto other = input[0][t][begin ? channel + size / 2 : channel - size / 2];
      rotated[t][channel] = input[0][t][channel] * table[0][t][0][0][d] +
                            (begin ? -other : other) * table[1][t][0][0][d];
    }
  }
  const auto query = projected(module->linear_q, rotated);
  const auto key = projected(module->linear_k, rotated);
  const auto scores = torch::einsum("qhd,khd->hqk", {query, key});
  ASSERT_EQ(scores.size(0), heads);
  const auto output = module->forward(input, {}, table).attn_output;
  EXPECT_LT((output[0] - mixed(module, scores, input[0])).abs().max().item<double>(), 1e-12);
}

TEST_P(SelfAttention, GivesWeightsOnlyOnTheEagerPath) {
  const auto output = module_->forward(torch::randn({2, 6, config_.hidden_size}, torch::kDouble));
  EXPECT_EQ(output.attn_weights.defined(), !sdpa());
  if (sdpa()) return;
  EXPECT_EQ(output.attn_weights.sizes(), (std::vector<std::int64_t>{2, 3, 6, 6}));
  EXPECT_LT((output.attn_weights.sum(-1) - 1).abs().max().item<double>(), 1e-12);
}

TEST_P(SelfAttention, SeesNothingOfMaskedKeysAndStaysFiniteWithoutAny) {
  const auto input = torch::randn({2, 7, config_.hidden_size}, torch::kDouble);
  auto mask = torch::ones({2, 7}, torch::kLong);
  mask[0].slice(0, 4) = 0;
  mask[1] = 0;
  const auto expanded = bidirectional_mask(mask, input, sdpa(), /*position_bias=*/true);
  const auto before = module_->forward(input, expanded).attn_output;
  auto changed = input.clone();
  changed[0].slice(0, 4).add_(1.0);
  const auto after = module_->forward(changed, expanded).attn_output;
  EXPECT_TRUE(after[0].slice(0, 0, 4).equal(before[0].slice(0, 0, 4)));
  EXPECT_TRUE(before.isfinite().all().item<bool>());
}

TEST_P(SelfAttention, RefusesAMaskThatWouldBeBroadcastOrOfAnotherForm) {
  const auto input = torch::randn({2, 5, config_.hidden_size}, torch::kDouble);
  const auto good = bidirectional_mask(torch::ones({2, 5}, torch::kLong), input, sdpa(), true);
  EXPECT_NO_THROW(module_->forward(input, good));
  const torch::Tensor bad[] = {
      good.slice(0, 0, 1),                              // one row for two
      good.slice(3, 0, 4),                              // fewer keys
      good.squeeze(1),                                  // three dimensions
      sdpa() ? good.to(torch::kDouble) : good.ne(0.0),  // the other implementation's
  };
  for (const auto& mask : bad)
    EXPECT_THROW(module_->forward(input, mask), c10::ValueError) << mask.sizes();
  EXPECT_NO_THROW(module_->forward(input, good));
}

INSTANTIATE_TEST_SUITE_P(Implementations, SelfAttention, ::testing::Values("eager", "sdpa"),
                         [](const auto& instance) { return std::string(instance.param); });

}  // namespace
}  // namespace w2vbert::testing
