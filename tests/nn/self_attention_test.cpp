#include "w2vbert/nn/self_attention.h"

#include <gtest/gtest.h>
#include <torch/types.h>
#include <torch/utils.h>

#include <algorithm>

#include "core/padding_mask.h"
#include "support/small_config.h"

namespace w2vbert::testing {
namespace {

class SelfAttention : public ::testing::TestWithParam<const char*> {
 protected:
  SelfAttention() {
    torch::manual_seed(12);
    config_.attn_implementation = GetParam();
    module_ = Wav2Vec2BertSelfAttention(config_);
    module_->eval();
    module_->to(torch::kDouble);
  }
  bool sdpa() const { return config_.attn_implementation == "sdpa"; }

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
