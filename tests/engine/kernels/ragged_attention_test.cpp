// Attention over a ragged batch against a softmax in float64, pair by pair of queries and keys.
#include "engine/kernels/ragged_attention.h"

#include <gtest/gtest.h>
#include <torch/types.h>
#include <torch/utils.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "engine/row_blocks.h"

namespace w2vbert::testing {
namespace {

struct Shape {
  std::int64_t heads, head_size, left, right;
};

// A batch, the queries, keys and values of its rows, and what attention makes of them.
class Attention {
 public:
  Attention(const Shape& shape, bool positions, const std::vector<std::int64_t>& lengths,
            const std::vector<torch::Tensor>& masks)
      : shape_(shape), lengths_(lengths), masks_(masks) {
    std::int64_t rows = 0;
    for (std::size_t clip = 0; clip < lengths.size(); ++clip) {
      batch_.add(lengths[clip], masks[clip]);
      rows += lengths[clip];
    }
    EXPECT_EQ(batch_.rows(), rows);
    // The queries scaled, as the layer's projection gives them.
    qkv_ = torch::randn({3 * shape.heads, rows + kRowGranule, shape.head_size});
    qkv_.slice(0, 0, shape.heads).div_(std::sqrt(static_cast<double>(shape.head_size)));
    if (positions) {
      distances_ = torch::randn({shape.left + 1 + shape.right, shape.head_size});
    }
  }

  torch::Tensor& qkv() { return qkv_; }
  void scale_distances(double factor) { distances_.mul_(factor); }

  torch::Tensor run(Precision precision, bool sdpa = false) {
    const RaggedAttention attention(shape_.heads, shape_.head_size, distances_, shape_.left,
                                    shape_.right, precision, sdpa);
    const std::int64_t rows = batch_.rows();
    torch::Tensor y = torch::full({rows + kRowGranule, shape_.heads * shape_.head_size},
                                  std::numeric_limits<float>::quiet_NaN());
    attention.forward(batch_, qkv_.const_data_ptr<float>(), qkv_.stride(0), scratch_,
                      y.mutable_data_ptr<float>());
    return y.slice(0, 0, rows);
  }

  // (rows, heads x D) float64
  torch::Tensor expected() const {
    const auto wide = qkv_.to(torch::kDouble);
    torch::Tensor y = torch::empty({batch_.rows(), shape_.heads, shape_.head_size}, torch::kDouble);
    std::int64_t begin = 0;
    for (std::size_t clip = 0; clip < lengths_.size(); ++clip) {
      const std::int64_t frames = lengths_[clip];
      const auto part = wide.slice(1, begin, begin + frames);  // (3 H, T, D)
      const auto query = part.slice(0, 0, shape_.heads);
      const auto key = part.slice(0, shape_.heads, 2 * shape_.heads);
      auto scores = query.matmul(key.transpose(1, 2));  // (H, T, T)
      if (distances_.defined()) {
        const auto frame = torch::arange(frames);
        const auto distance = (frame.unsqueeze(0) - frame.unsqueeze(1))  // key - query
                                  .clamp(-shape_.left, shape_.right) +
                              shape_.left;
        const auto rows = distances_.to(torch::kDouble).index({distance});  // (T, T, D)
        scores = scores + torch::einsum("hqd,qkd->hqk", {query, rows});
      }
      if (masks_[clip].defined()) {
        const auto padded = masks_[clip].eq(0);
        // HF: where no frame is valid, the lowest finite number leaves all scores equal.
        scores = padded.all().item<bool>()
                     ? torch::zeros_like(scores)
                     : scores.masked_fill(padded, -std::numeric_limits<double>::infinity());
      }
      const auto mixed = torch::softmax(scores, -1).matmul(part.slice(0, 2 * shape_.heads));
      y.slice(0, begin, begin + frames).copy_(mixed.transpose(0, 1));
      begin += frames;
    }
    return y.flatten(1);
  }

 private:
  Shape shape_;
  std::vector<std::int64_t> lengths_;
  std::vector<torch::Tensor> masks_;
  RaggedBatch batch_;
  torch::Tensor qkv_;  // (3 heads, rows and a granule, D)
  torch::Tensor distances_;
  RaggedAttention::Scratch scratch_;
};

torch::Tensor holes(std::int64_t frames) {
  auto mask = torch::rand({frames}).gt(0.3).to(torch::kLong);
  mask[frames - 1] = 1;
  return mask;
}

class RaggedAttentionIn : public ::testing::TestWithParam<Precision> {
 protected:
  RaggedAttentionIn() { torch::manual_seed(1); }
  void TearDown() override {
    RecordProperty("largest_difference", ::testing::PrintToString(largest_));
  }
  double difference_of(Attention& attention) {
    const double difference = (attention.run(GetParam()).to(torch::kDouble) - attention.expected())
                                  .abs()
                                  .max()
                                  .item<double>();
    largest_ = std::max(largest_, difference);
    return difference;
  }
  // For the largest absolute difference from float64; an output is a mean of values of up to 5.
  // float32: an exponential is off by up to 20 units in the last place (docs/numerics.md), 2.4e-6
  // of itself, and what is common to all of a row's leaves their mean as it is. bfloat16: q, k, e,
  // v and the exponentials are rounded, each within 2^-9 of itself. That moves the mean by up to
  // 2^-9 x 5 = 0.01 for the values, as much for the exponentials, and for the scores q.(k + e), of
  // up to 10, by 2 x 2^-9 x 10 times the values' spread, 1: together 0.06. The same roundings in
  // PyTorch, over these lengths and shapes, give 0.016 at most.
  // float16 has three bits more, and an error of as much again in its short sums.
  double tolerance() const {
    return GetParam() == Precision::float32 ? 1e-5 : GetParam() == Precision::float16 ? 0.02 : 0.06;
  }

 private:
  double largest_ = 0;
};

TEST_P(RaggedAttentionIn, IsASoftmaxOverTheClipOfEachLength) {
  const Shape shape{2, 20, 64, 8};
  constexpr std::int64_t kTogether = 13;
  for (const bool positions : {true, false}) {
    for (std::int64_t first = 1; first <= 130; first += kTogether) {
      std::vector<std::int64_t> lengths;
      std::vector<torch::Tensor> masks;
      for (std::int64_t frames = first; frames < first + kTogether; ++frames) {
        lengths.push_back(frames);
        masks.push_back(frames % 3 == 0 ? holes(frames) : torch::Tensor());
      }
      Attention attention(shape, positions, lengths, masks);
      EXPECT_LT(difference_of(attention), tolerance())
          << "from " << first << " frames, positions " << positions;
    }
  }
}

TEST_P(RaggedAttentionIn, ContinuesOverManyBlocksOfKeys) {
  const std::vector<std::int64_t> lengths = {511, 3, 512, 513, 1100};
  std::vector<torch::Tensor> masks(lengths.size());
  masks[0] = holes(511);
  masks[4] = holes(1100);
  masks[4].slice(0, 0, 600).zero_();  // a first block without any valid key
  Attention attention({1, 16, 64, 8}, true, lengths, masks);
  EXPECT_LT(difference_of(attention), tolerance());
}

TEST_P(RaggedAttentionIn, TakesHeadsAndDistancesOfAnySize) {
  for (const Shape shape : {Shape{1, 1, 0, 0}, Shape{3, 7, 0, 5}, Shape{2, 64, 5, 0},
                            Shape{5, 33, 200, 90}, Shape{4, 18, 3, 1}}) {
    Attention attention(shape, true, {70, 1, 33}, {holes(70), {}, {}});
    EXPECT_LT(difference_of(attention), tolerance())
        << shape.heads << " heads of " << shape.head_size;
  }
}

TEST_P(RaggedAttentionIn, TakesTheMeanWhereNoFrameIsValid) {
  Attention attention({2, 16, 4, 2}, true, {9, 80, 5},
                      {{}, torch::zeros({80}, torch::kLong), holes(5)});
  EXPECT_LT(difference_of(attention), tolerance());
}

TEST_P(RaggedAttentionIn, GivesZerosForNoKeyWhereScaledDotProductAttentionDoes) {
  const std::vector<torch::Tensor> masks = {{}, torch::zeros({80}, torch::kLong), holes(5)};
  for (const bool positions : {false, true}) {
    Attention attention({2, 16, 4, 2}, positions, {9, 80, 5}, masks);
    const auto softmax = attention.run(GetParam());
    const auto sdpa = attention.run(GetParam(), /*sdpa=*/true);
    // With positions LibTorch gets the mask as numbers, the lowest of which is finite.
    EXPECT_EQ(sdpa.slice(0, 9, 89).eq(0).all().item<bool>(), !positions);
    if (!positions) {
      softmax.slice(0, 9, 89).zero_();
    }
    EXPECT_TRUE(sdpa.equal(softmax)) << positions;
  }
  // Keys that are infinite the wrong way: no score is left.
  Attention attention({1, 16, 4, 2}, false, {9}, {{}});
  attention.qkv().slice(0, 0, 1).fill_(1.0F);
  attention.qkv().slice(0, 1, 2).fill_(-std::numeric_limits<float>::infinity());
  EXPECT_TRUE(attention.run(GetParam(), /*sdpa=*/true).eq(0).all().item<bool>());
  EXPECT_TRUE(attention.run(GetParam()).isnan().all().item<bool>());
  // A score that is NaN is not hidden there either.
  attention.qkv().slice(0, 1, 2).fill_(std::numeric_limits<float>::quiet_NaN());
  EXPECT_TRUE(attention.run(GetParam(), /*sdpa=*/true).isnan().all().item<bool>());
}

TEST_P(RaggedAttentionIn, KeepsANanInItsClip) {
  for (const std::int64_t part : {0, 1, 2}) {  // queries, keys, values
    Attention attention({2, 16, 4, 2}, true, {9, 80, 70}, {{}, {}, {}});
    const auto before = attention.run(GetParam()).clone();
    // Frame 40 of the second clip, in its first head.
    attention.qkv()[2 * part][49][3] = std::numeric_limits<float>::quiet_NaN();
    const auto after = attention.run(GetParam());
    EXPECT_TRUE(after.slice(0, 0, 9).equal(before.slice(0, 0, 9))) << part;
    EXPECT_TRUE(after.slice(0, 89).equal(before.slice(0, 89))) << part;
    EXPECT_TRUE(after.slice(1, 16).equal(before.slice(1, 16))) << part;
    const auto nan = after.slice(0, 9, 89).slice(1, 0, 16).isnan();
    // A query spoils its row, a key every row, a value a column.
    EXPECT_EQ(nan.sum().item<std::int64_t>(), part == 0 ? 16 : part == 1 ? 80 * 16 : 80) << part;
  }
}

// In one clip and head, beyond float16 or far below it: the others are as they were.
TEST_P(RaggedAttentionIn, TakesQueriesKeysAndValuesOfAnySize) {
  constexpr float kSizes[] = {1e-7F, 1e-3F, 1e3F, 1e6F, 1e30F};
  for (const float size : kSizes) {
    Attention attention({2, 16, 4, 2}, true, {9, 80, 70}, {{}, {}, {}});
    const auto before = attention.run(GetParam()).clone();
    auto of_head = [&](std::int64_t part) { return attention.qkv()[2 * part].slice(0, 9, 89); };
    of_head(2).mul_(size);
    const auto values = attention.run(GetParam());
    const auto got = values.slice(0, 9, 89).slice(1, 0, 16).to(torch::kDouble);
    const auto expected = attention.expected().slice(0, 9, 89).slice(1, 0, 16);
    EXPECT_LT((got - expected).abs().max().item<double>() / size, tolerance()) << size;
    of_head(2).div_(size);
    // Queries by keys of the inverse size are what they were; the distances are of one size.
    Attention plain({2, 16, 4, 2}, false, {9, 80, 70}, {{}, {}, {}});
    plain.qkv()[0].slice(0, 9, 89).mul_(size);
    plain.qkv()[2].slice(0, 9, 89).div_(size);
    EXPECT_LT(difference_of(plain), tolerance()) << size;
    of_head(0).mul_(std::min(size, 1e3F));
    const auto queries = attention.run(GetParam());
    EXPECT_TRUE(queries.isfinite().all().item<bool>()) << size;
    EXPECT_TRUE(queries.slice(0, 0, 9).equal(before.slice(0, 0, 9))) << size;
    EXPECT_TRUE(queries.slice(1, 16).equal(before.slice(1, 16))) << size;
  }
}

TEST_P(RaggedAttentionIn, TakesDistancesOfAnySize) {
  for (const double size : {1e-6, 1e6}) {
    Attention attention({2, 16, 4, 2}, true, {9, 80, 70}, {{}, {}, {}});
    attention.scale_distances(size);
    attention.qkv().slice(0, 0, 2).div_(size);
    attention.qkv().slice(0, 2, 4).mul_(size);
    EXPECT_LT(difference_of(attention), tolerance()) << size;
  }
}

INSTANTIATE_TEST_SUITE_P(All, RaggedAttentionIn,
                         ::testing::Values(Precision::float32, Precision::bfloat16,
                                           Precision::float16),
                         [](const auto& of) { return name_of(of.param); });

}  // namespace
}  // namespace w2vbert::testing
