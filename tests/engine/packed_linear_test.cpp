// The packed layers against exact arithmetic.
#include "engine/kernels/packed_linear.h"

#include <gtest/gtest.h>
#include <torch/nn/module.h>
#include <torch/nn/modules/conv.h>
#include <torch/nn/modules/linear.h>
#include <torch/types.h>
#include <torch/utils.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <memory>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "engine/kernels/packed_rows.h"
#include "engine/row_blocks.h"
#include "engine/scratch_buffer.h"
#include "support/engine_products.h"
#include "w2vbert/checkpoint/weight_source.h"

namespace w2vbert::testing {
namespace {

// The limit for sums in float32, in another order than float64's: relative to max(1, |y|).
constexpr double kTolerance = 2e-5;

// Where short sums are float16: the largest difference of such layers was 0.018, of sums of 514
// products. The sizes of 64 of them add up to some 5, whose 11 bits end at 2^-9.
constexpr double kShortSumTolerance = 0.04;

double difference(const torch::Tensor& got, const torch::Tensor& exact) {
  return ((got.to(torch::kDouble) - exact).abs() / torch::clamp_min(exact.abs(), 1.0))
      .max()
      .item<double>();
}

// To so many significant bits.
torch::Tensor rounded_to(const torch::Tensor& rows, int bits) {
  const auto [fraction, exponent] = torch::frexp(rows.to(torch::kDouble));
  return torch::ldexp(torch::round(fraction * std::ldexp(1.0, bits)), exponent - bits);
}

// What a layer multiplies, as float64: the values that its precision leaves of `rows`.
torch::Tensor rounded(const torch::Tensor& rows, const EngineProducts& products, bool is_weight) {
  Precision precision = products.precision;
  if (!is_weight && products.narrow == NarrowProducts::widened) precision = Precision::float32;
  if (precision == Precision::float16) return rounded_to(rows, 11);
  if (precision == Precision::float32) return rows.to(torch::kDouble);
  if (precision == Precision::bfloat16) {
    return rows.to(torch::kBFloat16).to(torch::kDouble);
  }
  if (is_weight) {  // a scale for each output, from its largest value
    const auto largest = rows.abs().amax(1, true);
    const auto steps = torch::round(rows * (127 / largest));
    return steps.to(torch::kDouble) * (largest / 127).to(torch::kDouble);
  }
  // A scale and a zero point for each row, from its smallest and largest value and zero.
  const auto low = torch::clamp_max(rows.amin(1, true), 0);
  const auto span = torch::clamp_min(rows.amax(1, true), 0) - low;
  const auto steps = 255 / span;
  const auto zero = torch::floor(-low * steps + 0.5);
  const auto bytes = torch::trunc(torch::clamp(rows * steps + (zero + 0.5), 0, 255));
  return (bytes - zero).to(torch::kDouble) * (span / 255).to(torch::kDouble);
}

struct Sizes {
  std::int64_t rows, in, out;
};

class PackedLinearTest : public InEngineProducts {
 protected:
  void SetUp() override { torch::manual_seed(29); }

  template <class Child>
  void add(const std::string& name, const Child& child) {
    module_->register_module(name, child);
    const torch::NoGradGuard no_grad;
    for (auto& parameter : child->parameters()) parameter.uniform_(-0.2, 0.2);
  }
  PackedLinear packed(const LinearWeights& weights) {
    PackedLinear linear({std::make_shared<ModuleWeights>(*module_), ""}, weights, precision());
    if (pack_) linear.pack();
    return linear;
  }
  // x and, as float64, what is left of it.
  void make_input(std::int64_t rows, std::int64_t in) {
    const auto x = torch::randn({rows, in});
    input_ = rounded(x, GetParam(), /*is_weight=*/false);
    std::copy_n(x.const_data_ptr<float>(), x.numel(), x_.reserve((rows + kRowGranule) * in));
    packed_rows_.assign(rows_precision(precision()), x_.data(), rows, in);
  }
  torch::Tensor exact(const torch::Tensor& weight, const torch::Tensor& bias) const {
    const auto product = input_.matmul(rounded(weight.detach(), GetParam(), true).t());
    return bias.defined() ? product + bias.detach().to(torch::kDouble) : product;
  }
  static double tolerance() {
    const bool short_sums =
        precision() == Precision::float16 && GetParam().narrow == NarrowProducts::native;
    return short_sums ? kShortSumTolerance : kTolerance;
  }
  static torch::Tensor output(std::int64_t rows, std::int64_t width) {
    return torch::full({rows + kRowGranule, width}, 7.0F);
  }

  std::shared_ptr<torch::nn::Module> module_ = std::make_shared<torch::nn::Module>("layers");
  bool pack_ = true;
  torch::Tensor input_;
  ScratchBuffer x_;
  PackedRows packed_rows_;
};

constexpr Sizes kSizes[] = {{1, 1, 1},    {3, 5, 63},     {17, 64, 64},
                            {33, 66, 65}, {40, 513, 130}, {600, 70, 200}};

TEST_P(PackedLinearTest, ComputesEveryEpilogue) {
  for (const bool pack : {true, false}) {
    pack_ = pack;
    for (const Sizes& size : kSizes) {
      module_ = std::make_shared<torch::nn::Module>("layers");
      torch::nn::Linear layer(size.in, size.out);
      add("layer", layer);
      make_input(size.rows, size.in);
      const std::string where = std::to_string(size.rows) + " x " + std::to_string(size.in) +
                                " x " + std::to_string(size.out) + (pack ? ", packed" : "");
      const PackedLinear linear = packed({.parts = {{"layer"}}});
      EXPECT_EQ(linear.in_features(), size.in);
      EXPECT_EQ(linear.out_features(), size.out);
      const auto expected = exact(layer->weight, layer->bias);

      auto y = output(size.rows, size.out);
      linear.forward(packed_rows_, 0, size.rows, y.mutable_data_ptr<float>());
      EXPECT_LT(difference(y.narrow(0, 0, size.rows), expected), tolerance()) << where;
      EXPECT_TRUE(y.narrow(0, size.rows, kRowGranule).eq(7).all().item<bool>()) << where;

      linear.forward_swish(packed_rows_, 0, size.rows, y.mutable_data_ptr<float>());
      EXPECT_LT(difference(y.narrow(0, 0, size.rows), torch::silu(expected)), tolerance()) << where;

      const auto before = torch::randn({size.rows, size.out});
      y.narrow(0, 0, size.rows).copy_(before);
      linear.add_to(packed_rows_, 0, size.rows, y.mutable_data_ptr<float>());
      EXPECT_LT(difference(y.narrow(0, 0, size.rows), expected + before.to(torch::kDouble)),
                tolerance())
          << where;

      // From a row in the middle on, the same bits.
      const std::int64_t first = size.rows / 2;
      linear.forward(packed_rows_, 0, size.rows, y.mutable_data_ptr<float>());
      auto rest = output(size.rows, size.out);
      linear.forward(packed_rows_, first, size.rows - first, rest.mutable_data_ptr<float>());
      EXPECT_TRUE(
          torch::equal(rest.narrow(0, 0, size.rows - first), y.narrow(0, first, size.rows - first)))
          << where;
    }
  }
}

TEST_P(PackedLinearTest, StacksPartsAndScalesThem) {
  constexpr std::int64_t kRows = 21, kIn = 48, kHead = 12, kHeads = 3, kOut = kHead * kHeads;
  torch::nn::Linear q(kIn, kOut), k(kIn, kOut), v(kIn, kOut);
  add("q", q);
  add("k", k);
  add("v", v);
  make_input(kRows, kIn);
  const PackedLinear linear = packed({.parts = {{"q", 0.25f}, {"k"}, {"v"}}, .panel_width = kHead});
  ASSERT_EQ(linear.panels(), 3 * kHeads);
  const auto expected = exact(torch::cat({q->weight * 0.25f, k->weight, v->weight}),
                              torch::cat({q->bias * 0.25f, k->bias, v->bias}));
  constexpr std::int64_t kStride = (kRows + kRowGranule) * kHead;
  const auto y = torch::empty({linear.panels(), kRows + kRowGranule, kHead});
  linear.forward_panels(packed_rows_, 0, kRows, y.mutable_data_ptr<float>(), kStride);
  for (std::int64_t panel = 0; panel < linear.panels(); ++panel) {
    EXPECT_LT(difference(y[panel].narrow(0, 0, kRows), expected.narrow(1, panel * kHead, kHead)),
              tolerance())
        << panel;
  }
}

TEST_P(PackedLinearTest, ScalesAWholeLayer) {
  torch::nn::Linear layer(30, 70);
  add("layer", layer);
  make_input(9, 30);
  auto y = output(9, 70);
  packed({.parts = {{"layer", 0.5f}}}).forward(packed_rows_, 0, 9, y.mutable_data_ptr<float>());
  EXPECT_LT(difference(y.narrow(0, 0, 9), exact(layer->weight * 0.5f, layer->bias * 0.5f)),
            tolerance());
}

TEST_P(PackedLinearTest, GatesWithAndWithoutABias) {
  for (const std::int64_t columns : {1, 31, 32, 48, 96, 100}) {
    for (const bool with_bias : {true, false}) {
      module_ = std::make_shared<torch::nn::Module>("layers");
      torch::nn::Linear layer(torch::nn::LinearOptions(40, 2 * columns).bias(with_bias));
      add("layer", layer);
      make_input(19, 40);
      auto y = output(19, columns);
      const PackedLinear linear = packed({.parts = {{"layer"}}, .bias = with_bias, .gated = true});
      linear.forward_glu(packed_rows_, 0, 19, y.mutable_data_ptr<float>(), columns);
      const auto both = exact(layer->weight, layer->bias);
      EXPECT_LT(
          difference(y.narrow(0, 0, 19),
                     both.narrow(1, 0, columns) * torch::sigmoid(both.narrow(1, columns, columns))),
          tolerance())
          << columns << (with_bias ? " with a bias" : "");
    }
  }
}

// A convolution over K frames multiplies the frames as they lie: (K, in), not (in, K).
TEST_P(PackedLinearTest, TakesAConvolutionsRowsFrameByFrame) {
  torch::nn::Conv1d conv(torch::nn::Conv1dOptions(10, 20, 3));
  add("conv", conv);
  make_input(6, 30);
  auto y = output(6, 20);
  const PackedLinear linear = packed({.parts = {{"conv"}}});
  EXPECT_EQ(linear.in_features(), 30);
  linear.forward(packed_rows_, 0, 6, y.mutable_data_ptr<float>());
  EXPECT_LT(
      difference(y.narrow(0, 0, 6), exact(conv->weight.transpose(1, 2).flatten(1), conv->bias)),
      tolerance());
}

TEST_P(PackedLinearTest, TakesNoRows) {
  torch::nn::Linear layer(8, 70);
  add("layer", layer);
  make_input(0, 8);
  for (const bool pack : {true, false}) {
    pack_ = pack;
    const auto y = output(0, 70);
    packed({.parts = {{"layer"}}}).forward(packed_rows_, 0, 0, y.mutable_data_ptr<float>());
    EXPECT_TRUE(y.eq(7).all().item<bool>());
  }
}

TEST(RowBlocks, CoverAllRowsOnce) {
  for (const std::int64_t rows : {0, 1, 8, 9, 512, 513}) {
    for (const std::int64_t largest : {8, 64, 512}) {
      const RowBlocks blocks(rows, largest);
      std::int64_t covered = 0;
      for (std::int64_t block = 0; block < blocks.count; ++block) {
        EXPECT_EQ(blocks.begin(block), covered);
        EXPECT_GT(blocks.rows_of(block), 0);
        covered += blocks.rows_of(block);
      }
      EXPECT_EQ(covered, rows) << largest;
    }
  }
  EXPECT_EQ(RowBlocks(0, 0).count, 0);
}

TEST_P(PackedLinearTest, RefusesPartsOfOtherShapes) {
  torch::nn::Linear one(8, 4), other(8, 5);
  add("one", one);
  add("other", other);
  EXPECT_THROW(packed({.parts = {{"one"}, {"other"}}}), c10::ValueError);
}

TEST_P(PackedLinearTest, RefusesAWeightWithoutValues) {
  for (const auto& shape : std::vector<std::vector<std::int64_t>>{{0, 8}, {8, 0}, {8}, {8, 4, 0}}) {
    auto layer = std::make_shared<torch::nn::Module>("layer");
    layer->register_parameter("weight", torch::empty(shape));
    module_ = std::make_shared<torch::nn::Module>("layers");
    module_->register_module("layer", layer);
    EXPECT_THROW(packed({.parts = {{"layer"}}, .bias = false}), c10::ValueError);
  }
}

TEST(PackedLinear, RefusesAnInt8LayerWhoseSumsDoNotFit) {
  auto module = std::make_shared<torch::nn::Module>("layers");
  module->register_module("layer", torch::nn::Linear(65'537, 1));
  const WeightScope scope = {std::make_shared<ModuleWeights>(*module), ""};
  EXPECT_THROW(PackedLinear(scope, {.parts = {{"layer"}}}, Precision::int8), c10::ValueError);
  EXPECT_NO_THROW(PackedLinear(scope, {.parts = {{"layer"}}}, Precision::bfloat16));
}

// A layer and rows whose sizes are far apart. The error of a sum is measured by the sizes of its
// products: what is beyond float16 must cost no more than its 11 bits.
class PackedFloat16 : public ::testing::TestWithParam<NarrowProducts> {
 protected:
  static constexpr std::int64_t kRows = 11, kIn = 150, kOut = 70;

  PackedFloat16() {
    torch::manual_seed(31);
    rows_ = torch::randn({kRows, kIn});
    weight_ = torch::randn({kOut, kIn}) / 10;
  }
  torch::Tensor product() {
    auto module = std::make_shared<torch::nn::Module>("layers");
    torch::nn::Linear layer(torch::nn::LinearOptions(kIn, kOut).bias(false));
    layer->weight.set_data(weight_.clone());
    module->register_module("layer", layer);
    PackedLinear linear({std::make_shared<ModuleWeights>(*module), ""},
                        {.parts = {{"layer"}}, .bias = false}, Precision::float16);
    linear.pack();
    ScratchBuffer memory;
    float* x = memory.reserve((kRows + kRowGranule) * kIn);
    std::copy_n(rows_.const_data_ptr<float>(), rows_.numel(), x);
    PackedRows packed;
    packed.assign(linear.precision(), x, kRows, kIn);
    torch::Tensor y = torch::empty({kRows + kRowGranule, kOut});
    linear.forward(packed, 0, kRows, y.mutable_data_ptr<float>());
    return y.slice(0, 0, kRows).to(torch::kDouble);
  }
  // The largest one, where nothing is beyond float32.
  double error(const torch::Tensor& product) const {
    const auto x = rows_.to(torch::kDouble), w = weight_.to(torch::kDouble);
    const auto sizes = x.abs().matmul(w.abs().t());
    const auto there = sizes.lt(std::numeric_limits<float>::max());
    if (!there.any().item<bool>()) return 0;
    return ((product - x.matmul(w.t())).abs() / sizes).masked_select(there).max().item<double>();
  }

  torch::Tensor rows_, weight_;

 private:
  UseNarrowProducts use_{GetParam()};
};

// Half of the last of 11 bits in each of both factors, and in some steps of a sum. The largest
// error was 0.0021.
constexpr double kOfSizes = 1.0 / 256;

TEST_P(PackedFloat16, TakesValuesBeyondItsRange) {
  EXPECT_LT(error(product()), kOfSizes);
  for (const float large : {65'504.0F, 65'520.0F, 1e5F, 1e20F, 3e38F}) {
    for (const bool in_weight : {true, false}) {
      for (const bool whole : {true, false}) {
        const torch::Tensor before = in_weight ? weight_ : rows_;
        torch::Tensor& values = in_weight ? weight_ : rows_;
        values = before.clone();
        if (whole) {
          values.mul_(large / 4);  // the largest has a size of some 4
        } else {
          values[3][5] = large;
          values[4][149] = -large;
        }
        const torch::Tensor y = product();
        EXPECT_LT(error(y), kOfSizes) << large << " " << in_weight << " " << whole;
        EXPECT_EQ(y.isnan().sum().item<std::int64_t>(), 0) << large;
        values = before;
      }
    }
  }
}

TEST_P(PackedFloat16, TakesValuesBelowItsRange) {
  for (const float small : {1e-4F, 1e-8F, 1e-20F}) {
    const torch::Tensor rows = rows_, weight = weight_;
    rows_ = rows * small;
    EXPECT_LT(error(product()), kOfSizes) << small;
    rows_ = rows;
    weight_ = weight * small;
    EXPECT_LT(error(product()), kOfSizes) << small;
    // Large rows by small weights.
    rows_ = rows / small;
    EXPECT_LT(error(product()), kOfSizes) << small;
    rows_ = rows;
    weight_ = weight;
  }
}

TEST_P(PackedFloat16, KeepsWhatIsNoNumberInItsRowOrItsOutput) {
  const torch::Tensor before = product();
  for (const float value :
       {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity(),
        -std::numeric_limits<float>::infinity()}) {
    const torch::Tensor rows = rows_.clone(), weight = weight_.clone();
    rows_[4][7] = value;
    weight_[66][149] = value;
    const torch::Tensor y = product();
    const torch::Tensor bad = y.isfinite().logical_not();
    EXPECT_EQ(bad.sum().item<std::int64_t>(), kRows + kOut - 1) << value;
    EXPECT_TRUE(bad[4].all().item<bool>() && bad.select(1, 66).all().item<bool>()) << value;
    EXPECT_TRUE(y.masked_select(bad.logical_not()).equal(before.masked_select(bad.logical_not())))
        << value;
    rows_ = rows;
    weight_ = weight;
  }
}

// The largest numbers of one sign, whose sums are the largest that there are.
TEST_P(PackedFloat16, SumsTheLargestValuesOfItsRange) {
  rows_.fill_(15.99F);
  weight_.fill_(-15.99F);
  EXPECT_LT(error(product()), 1.0 / 64);
}

INSTANTIATE_TEST_SUITE_P(All, PackedFloat16,
                         ::testing::Values(NarrowProducts::native, NarrowProducts::widened),
                         [](const auto& of) {
                           return name_of(EngineProducts{Precision::float16, of.param});
                         });

INSTANTIATE_TEST_SUITE_P(All, PackedLinearTest, ::testing::ValuesIn(kEngineProducts),
                         [](const auto& of) { return name_of(of.param); });

}  // namespace
}  // namespace w2vbert::testing
