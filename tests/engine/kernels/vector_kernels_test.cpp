// Each kernel against a plain loop in double, for every instruction set that this machine has.
#include "engine/kernels/vector_kernels.h"

#include <c10/util/BFloat16.h>
#include <c10/util/Half.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <random>
#include <string>
#include <vector>

namespace w2vbert {

namespace DEFAULT {
extern const VectorKernels kVectorKernels;
}
#if defined(__x86_64__)
namespace AVX2 {
extern const VectorKernels kVectorKernels;
}
namespace AVX512 {
extern const VectorKernels kVectorKernels;
}
#endif

namespace testing {
namespace {

constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
constexpr float kInfinity = std::numeric_limits<float>::infinity();
// The exponential of at::vec (exp_u20) is right to some 20 bits.
constexpr double kExpTolerance = 1e-5;

std::vector<const VectorKernels*> kernels_of_this_machine() {
  std::vector<const VectorKernels*> all = {&DEFAULT::kVectorKernels};
#if defined(__x86_64__)
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) {
    all.push_back(&AVX2::kVectorKernels);
  }
  if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
      __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq")) {
    all.push_back(&AVX512::kVectorKernels);
  }
#endif
  return all;
}

double sigmoid(double x) { return 1.0 / (1.0 + std::exp(-x)); }

// `count` values with room before and behind them, which kernels have to leave as it is.
template <class Value>
class Guarded {
 public:
  explicit Guarded(std::int64_t count, Value value = Value())
      : values_(static_cast<std::size_t>(count) + 2 * kGuard, value) {
    for (Value* end : {values_.data(), values_.data() + kGuard + count}) {
      std::memset(static_cast<void*>(end), kMark, kGuard * sizeof(Value));
    }
  }
  Value* data() { return values_.data() + kGuard; }
  Value& operator[](std::int64_t index) { return data()[index]; }
  ~Guarded() {
    const Value* const ends[] = {values_.data(), values_.data() + values_.size() - kGuard};
    for (const Value* end : ends) {
      const auto* bytes = reinterpret_cast<const unsigned char*>(end);
      const bool whole = std::all_of(bytes, bytes + kGuard * sizeof(Value),
                                     [](unsigned char byte) { return byte == kMark; });
      EXPECT_TRUE(whole) << "written outside";
    }
  }

 private:
  static constexpr std::size_t kGuard = 64;
  static constexpr unsigned char kMark = 0x5a;
  std::vector<Value> values_;
};

class VectorKernelsOf : public ::testing::TestWithParam<const VectorKernels*> {
 protected:
  std::vector<float> random(std::int64_t count, float scale = 1.0F, float shift = 0.0F) {
    std::normal_distribution<float> normal(shift, scale);
    std::vector<float> values(static_cast<std::size_t>(count));
    for (float& value : values) value = normal(random_);
    return values;
  }
  std::int64_t below(std::int64_t end) {
    return static_cast<std::int64_t>(random_() % static_cast<std::uint64_t>(end));
  }
  const VectorKernels& kernels_ = *GetParam();
  std::mt19937_64 random_{1};
};

TEST_P(VectorKernelsOf, NormalisesRows) {
  constexpr float kEps = 1e-5F;
  for (const std::int64_t width : {1, 2, 3, 7, 8, 15, 16, 17, 31, 33, 100, 129, 1024}) {
    const std::int64_t rows = 3;
    const auto x = random(rows * width, 2.0F, 1.0F);
    const auto weight = random(width, 0.3F, 1.0F), bias = random(width, 0.2F);
    Guarded<float> y(rows * width);
    kernels_.layer_norm(x.data(), rows, width, weight.data(), bias.data(), kEps, y.data());
    Guarded<float> in_place(rows * width);
    std::copy(x.begin(), x.end(), in_place.data());
    kernels_.layer_norm(in_place.data(), rows, width, weight.data(), bias.data(), kEps,
                        in_place.data());
    for (std::int64_t row = 0; row < rows; ++row) {
      const float* values = x.data() + row * width;
      double mean = 0, variance = 0;
      for (std::int64_t i = 0; i < width; ++i) mean += values[i] / static_cast<double>(width);
      for (std::int64_t i = 0; i < width; ++i) {
        variance += (values[i] - mean) * (values[i] - mean) / static_cast<double>(width);
      }
      for (std::int64_t i = 0; i < width; ++i) {
        const auto at = static_cast<std::size_t>(i);
        const double expected =
            (values[i] - mean) / std::sqrt(variance + kEps) * weight[at] + bias[at];
        EXPECT_NEAR(y[row * width + i], expected, 1e-5 * (1 + std::abs(expected))) << width;
        EXPECT_EQ(y[row * width + i], in_place[row * width + i]) << width;
      }
    }
  }
}

TEST_P(VectorKernelsOf, NormalisesANanIntoItsRowAlone) {
  const std::int64_t width = 21;
  for (std::int64_t place = 0; place < width; ++place) {
    for (const float poison : {kNan, kInfinity}) {
      auto x = random(3 * width);
      x[static_cast<std::size_t>(width + place)] = poison;
      const std::vector<float> weight(21, 1.0F), bias(21, 0.0F);
      Guarded<float> y(3 * width);
      kernels_.layer_norm(x.data(), 3, width, weight.data(), bias.data(), 1e-5F, y.data());
      for (std::int64_t i = 0; i < 3 * width; ++i) {
        EXPECT_EQ(std::isnan(y[i]), i / width == 1) << place << " " << i;
      }
    }
  }
}

TEST_P(VectorKernelsOf, NormalisesARowWhoseVarianceIsBeyondFloat32IntoNan) {
  for (const std::int64_t width : {2, 8, 21, 40}) {
    auto x = random(2 * width);
    x[static_cast<std::size_t>(width + width / 2)] = 3e38F;
    const std::vector<float> ones(static_cast<std::size_t>(width), 1.0F);
    Guarded<float> y(2 * width);
    kernels_.layer_norm(x.data(), 2, width, ones.data(), ones.data(), 1e-5F, y.data());
    for (std::int64_t i = 0; i < 2 * width; ++i) {
      EXPECT_EQ(std::isnan(y[i]), i >= width) << width << " " << i;
    }
  }
}

TEST_P(VectorKernelsOf, AddsABiasAndWhatComesBehindIt) {
  for (const std::int64_t columns : {1, 5, 8, 15, 16, 17, 40, 67}) {
    const std::int64_t rows = 3, ld_x = columns + 3, ld_y = columns + 5;
    const auto x = random(rows * ld_x, 4.0F), bias = random(columns), before = random(rows * ld_y);
    for (const bool with_bias : {true, false}) {
      const float* added = with_bias ? bias.data() : nullptr;
      for (const int kind : {0, 1, 2}) {
        const auto kernel = kind == 0   ? kernels_.add_bias
                            : kind == 1 ? kernels_.add_bias_swish
                                        : kernels_.add_bias_residual;
        Guarded<float> y(rows * ld_y);
        std::copy(before.begin(), before.end(), y.data());
        kernel(x.data(), added, rows, columns, ld_x, y.data(), ld_y);
        for (std::int64_t i = 0; i < rows * ld_y; ++i) {
          const std::int64_t row = i / ld_y, column = i % ld_y;
          double expected = before[static_cast<std::size_t>(i)];
          if (column < columns) {
            const double sum =
                static_cast<double>(x[static_cast<std::size_t>(row * ld_x + column)]) +
                (with_bias ? bias[static_cast<std::size_t>(column)] : 0.0F);
            expected = kind == 0 ? sum : kind == 1 ? sum * sigmoid(sum) : expected + sum;
          }
          EXPECT_NEAR(y[i], expected, kExpTolerance * (1 + std::abs(expected)))
              << "kind " << kind << ", " << columns << " columns, at " << i;
        }
      }
    }
  }
}

TEST_P(VectorKernelsOf, GivesSwishAtBothEndsAndOfNan) {
  const std::vector<float> x = {-1000.0F, -100.0F, -20.0F,  -1.0F, 0.0F,      1.0F,
                                20.0F,    100.0F,  1000.0F, kNan,  kInfinity, 0.5F};
  for (std::int64_t count = 1; count <= static_cast<std::int64_t>(x.size()); ++count) {
    Guarded<float> y(count);
    std::copy_n(x.begin(), count, y.data());
    kernels_.swish(y.data(), count);
    for (std::int64_t i = 0; i < count; ++i) {
      const float value = x[static_cast<std::size_t>(i)];
      if (std::isnan(value)) {
        EXPECT_TRUE(std::isnan(y[i])) << i;
      } else if (std::isinf(value)) {
        EXPECT_EQ(y[i], kInfinity);
      } else {
        const double expected = value * sigmoid(value);
        EXPECT_NEAR(y[i], expected, kExpTolerance * (1 + std::abs(expected))) << value;
      }
    }
  }
}

TEST_P(VectorKernelsOf, MultipliesByTheSigmoidOfTheGates) {
  for (const std::int64_t columns : {1, 7, 8, 16, 19, 33}) {
    const std::int64_t rows = 3, gates = columns + 2, ld_x = 2 * columns + 6, ld_y = columns + 1;
    auto x = random(rows * ld_x, 3.0F);
    Guarded<float> y(rows * ld_y, 7.0F);
    kernels_.glu(x.data(), gates, rows, columns, ld_x, y.data(), ld_y);
    for (std::int64_t i = 0; i < rows * ld_y; ++i) {
      const auto from = static_cast<std::size_t>(i / ld_y * ld_x + i % ld_y);
      const double expected =
          i % ld_y == columns ? 7.0 : x[from] * sigmoid(x[from + static_cast<std::size_t>(gates)]);
      EXPECT_NEAR(y[i], expected, kExpTolerance * (1 + std::abs(expected))) << columns;
    }
    // In the value or in the gate.
    for (const std::int64_t place : {std::int64_t{0}, gates}) {
      auto poisoned = x;
      poisoned[static_cast<std::size_t>(ld_x + place)] = kNan;
      kernels_.glu(poisoned.data(), gates, rows, columns, ld_x, y.data(), ld_y);
      for (std::int64_t i = 0; i < rows * ld_y; ++i) {
        EXPECT_EQ(std::isnan(y[i]), i == ld_y) << columns << " " << place << " " << i;
      }
    }
  }
}

TEST_P(VectorKernelsOf, ConvolvesEachChannelWithWhatCameBefore) {
  for (const std::int64_t channels : {1, 8, 15, 16, 17, 40}) {
    const std::int64_t chunks = (channels + kDepthwiseChunk - 1) / kDepthwiseChunk;
    for (const std::int64_t kernel_size : {1, 2, 7, 8, 9, 31}) {
      const auto weight = random(chunks * kDepthwiseChunk * kernel_size);
      const auto weight_of = [&](std::int64_t channel, std::int64_t k) {
        return weight[static_cast<std::size_t>((channel / kDepthwiseChunk * kernel_size + k) *
                                                   kDepthwiseChunk +
                                               channel % kDepthwiseChunk)];
      };
      for (const std::int64_t first : {0, 1, 40}) {
        for (const std::int64_t rows : {1, 7, 8, 9, 17}) {
          const std::int64_t frames = first + rows;
          auto x = random((frames + 1) * channels);
          // What lies behind the clip is another's.
          std::fill(x.begin() + frames * channels, x.end(), kNan);
          Guarded<float> y(rows * channels);
          kernels_.depthwise(x.data(), first, rows, channels, weight.data(), kernel_size, y.data());
          for (std::int64_t i = 0; i < rows * channels; ++i) {
            const std::int64_t t = first + i / channels, channel = i % channels;
            double expected = 0;
            for (std::int64_t k = 0; k < kernel_size; ++k) {
              const std::int64_t from = t - (kernel_size - 1) + k;
              if (from < 0) continue;
              expected += static_cast<double>(weight_of(channel, k)) *
                          x[static_cast<std::size_t>(from * channels + channel)];
            }
            ASSERT_NEAR(y[i], expected, 1e-5)
                << channels << " channels, kernel " << kernel_size << ", " << rows << " rows from "
                << first << ", at " << i;
          }
        }
      }
    }
  }
}

TEST_P(VectorKernelsOf, KeepsANanWithinTheReachOfTheConvolution) {
  const std::int64_t channels = 5, kernel_size = 4, rows = 20, poisoned = 9;
  const auto weight = random(kDepthwiseChunk * kernel_size);
  auto x = random(rows * channels);
  x[static_cast<std::size_t>(poisoned * channels + 2)] = kNan;
  Guarded<float> y(rows * channels);
  kernels_.depthwise(x.data(), 0, rows, channels, weight.data(), kernel_size, y.data());
  for (std::int64_t i = 0; i < rows * channels; ++i) {
    const std::int64_t t = i / channels;
    EXPECT_EQ(std::isnan(y[i]), i % channels == 2 && t >= poisoned && t < poisoned + kernel_size)
        << i;
  }
}

TEST_P(VectorKernelsOf, MeetsEachTapAtTheStartOfAClipToo) {
  const std::int64_t channels = 5, kernel_size = 4, rows = 20, channel = 3;
  const auto x = random(rows * channels);
  for (const float poison : {kNan, kInfinity}) {
    auto weight = random(kDepthwiseChunk * kernel_size);
    weight[channel] = poison;  // of the earliest frame: a zero before the clip's first rows
    Guarded<float> y(rows * channels);
    kernels_.depthwise(x.data(), 0, rows, channels, weight.data(), kernel_size, y.data());
    for (std::int64_t i = 0; i < rows * channels; ++i) {
      EXPECT_EQ(std::isfinite(y[i]), i % channels != channel) << i;
      const bool is_nan =
          i % channels == channel && (std::isnan(poison) || i / channels < kernel_size - 1);
      EXPECT_EQ(std::isnan(y[i]), is_nan) << i;
    }
  }
}

TEST_P(VectorKernelsOf, TransposesAndFillsUpWithZeros) {
  for (const std::int64_t rows : {1, 3, 8, 15, 16, 17, 33}) {
    for (const std::int64_t columns : {1, 2, 8, 16, 21, 40}) {
      for (const std::int64_t more : {0, 1, 19}) {
        const std::int64_t ld_x = columns + more, ld_y = rows + more;
        const auto x = random(rows * ld_x);
        Guarded<float> y(columns * ld_y, kNan);
        kernels_.transpose(x.data(), rows, columns, ld_x, y.data(), ld_y);
        for (std::int64_t i = 0; i < columns * ld_y; ++i) {
          const std::int64_t row = i % ld_y, column = i / ld_y;
          const float expected =
              row < rows ? x[static_cast<std::size_t>(row * ld_x + column)] : 0.0F;
          ASSERT_EQ(y[i], expected) << rows << " x " << columns << ", at " << i;
        }
      }
    }
  }
}

TEST_P(VectorKernelsOf, ContinuesASoftmaxOverBlocksOfKeys) {
  for (int round = 0; round < 300; ++round) {
    const std::int64_t rows = 1 + below(9), columns = 1 + below(70);
    const std::int64_t padded = (columns + 15) / 16 * 16, ld = padded + 16 * below(2);
    const std::int64_t left = below(30), right = below(30),
                       ld_relative = left + 1 + right + below(9);
    const std::int64_t distance = below(121) - 60, width = 1 + below(40);
    const auto scores = random(rows * ld, 2.0F), relative = random(rows * ld_relative, 2.0F);
    std::vector<float> bias(static_cast<std::size_t>(columns), 0.0F);
    for (float& value : bias) {
      if (below(4) == 0) value = std::numeric_limits<float>::lowest();
    }
    bias[static_cast<std::size_t>(below(columns))] = 0.0F;
    const auto before = random(rows * width);
    const bool first = below(2) == 0, masked = below(2) == 0, positions = below(3) > 0;
    Guarded<float> changed(rows * ld), row_max(rows), row_sum(rows), output(rows * width);
    std::copy(scores.begin(), scores.end(), changed.data());
    std::copy(before.begin(), before.end(), output.data());
    const auto old_max = random(rows, 3.0F), old_sum = random(rows, 1.0F, 20.0F);
    std::copy(old_max.begin(), old_max.end(), row_max.data());
    std::copy(old_sum.begin(), old_sum.end(), row_sum.data());
    ScoreBlock block{};
    block.scores = changed.data();
    block.rows = rows;
    block.columns = columns;
    block.padded_columns = padded;
    block.ld = ld;
    block.relative = positions ? relative.data() : nullptr;
    block.ld_relative = ld_relative;
    block.distance = distance;
    block.left = left;
    block.right = right;
    block.key_bias = masked ? bias.data() : nullptr;
    block.first = first;
    block.row_max = row_max.data();
    block.row_sum = row_sum.data();
    block.output = output.data();
    block.output_width = width;
    kernels_.softmax_block(block);
    for (std::int64_t row = 0; row < rows; ++row) {
      const auto at = static_cast<std::size_t>(row);
      std::vector<double> sums;
      double largest = first ? -kInfinity : old_max[at];
      for (std::int64_t column = 0; column < columns; ++column) {
        double sum = scores[static_cast<std::size_t>(row * ld + column)];
        if (positions) {
          const std::int64_t clipped = std::clamp(distance + column - row, -left, right);
          sum += relative[static_cast<std::size_t>(row * ld_relative + clipped + left)];
        }
        if (masked && bias[static_cast<std::size_t>(column)] != 0.0F) sum = -kInfinity;
        sums.push_back(sum);
        largest = std::max(largest, sum);
      }
      const double shrink = first ? 0.0 : std::exp(old_max[at] - largest);
      double total = first ? 0.0 : old_sum[at] * shrink;
      EXPECT_NEAR(row_max[row], largest, 1e-6 * (1 + std::abs(largest))) << round;
      for (std::int64_t column = 0; column < ld; ++column) {
        const auto place = static_cast<std::size_t>(column);
        if (column >= padded) {
          EXPECT_EQ(changed[row * ld + column], scores[static_cast<std::size_t>(row * ld) + place]);
          continue;
        }
        const double expected = column < columns ? std::exp(sums[place] - largest) : 0.0;
        total += expected;
        EXPECT_NEAR(changed[row * ld + column], expected, kExpTolerance) << round;
        if (expected == 0.0) {
          EXPECT_EQ(changed[row * ld + column], 0.0F) << round;
        }
      }
      EXPECT_NEAR(row_sum[row], total, kExpTolerance * total) << round;
      for (std::int64_t i = 0; i < width; ++i) {
        const double kept = before[static_cast<std::size_t>(row * width + i)];
        EXPECT_NEAR(output[row * width + i], first ? kept : kept * shrink,
                    kExpTolerance * (1 + std::abs(kept)))
            << round;
      }
    }
  }
}

// As HF's softmax: a row of equal scores, and a score that is not finite reaches the whole row.
TEST_P(VectorKernelsOf, GivesEqualWeightsWhereEveryKeyIsMaskedAndNanWhereOneScoreIsNotFinite) {
  const std::int64_t rows = 2, columns = 21, padded = 32, width = 3;
  const std::vector<float> bias(21, std::numeric_limits<float>::lowest());
  for (const bool all_masked : {true, false}) {
    for (std::int64_t place = 0; place < columns; ++place) {
      Guarded<float> scores(rows * padded), row_max(rows), row_sum(rows), output(rows * width);
      const auto values = random(rows * padded);
      std::copy(values.begin(), values.end(), scores.data());
      const auto relative = random(rows * 7);
      if (!all_masked) scores[place] = place % 2 == 0 ? kNan : kInfinity;  // of the first row
      ScoreBlock block{scores.data(),
                       rows,
                       columns,
                       padded,
                       padded,
                       relative.data(),
                       7,
                       -4,
                       3,
                       3,
                       all_masked ? bias.data() : nullptr,
                       true,
                       row_max.data(),
                       row_sum.data(),
                       output.data(),
                       width};
      kernels_.softmax_block(block);
      if (all_masked) {
        for (std::int64_t row = 0; row < rows; ++row) {
          for (std::int64_t i = 0; i < columns; ++i) EXPECT_EQ(scores[row * padded + i], 1.0F);
          EXPECT_EQ(row_sum[row], 21.0F);
        }
        break;
      }
      EXPECT_TRUE(std::isnan(row_sum[0])) << place;
      EXPECT_TRUE(std::isfinite(row_sum[1])) << place;
    }
  }
}

TEST_P(VectorKernelsOf, ScalesAllValues) {
  for (std::int64_t count = 1; count < 40; ++count) {
    const auto x = random(count);
    Guarded<float> y(count);
    kernels_.scale(x.data(), count, 0.37F, y.data());
    for (std::int64_t i = 0; i < count; ++i) {
      EXPECT_EQ(y[i], x[static_cast<std::size_t>(i)] * 0.37F);
    }
  }
}

// Values at and beside the middle of two bfloat16 numbers, and those that are no numbers.
std::vector<float> values_to_round(std::mt19937_64& random, std::int64_t count) {
  std::vector<float> values(static_cast<std::size_t>(count));
  for (float& value : values) {
    auto bits = static_cast<std::uint32_t>(random());
    const auto kind = random() % 4;
    if (kind == 0) bits = (bits & 0xffff0000U) | 0x8000U;
    if (kind == 1) bits = (bits & 0xffff0000U) | 0x8001U;
    std::memcpy(&value, &bits, sizeof value);
    if (random() % 40 == 0) value = kNan;
    if (random() % 40 == 0) value = -kInfinity;
    // Vector instructions may take numbers below the normal ones for zero.
    if (std::fpclassify(value) == FP_SUBNORMAL) value = 0.0F;
  }
  return values;
}

void expect_rounded(c10::BFloat16 got, float value) {
  if (std::isnan(value)) {
    EXPECT_TRUE(std::isnan(static_cast<float>(got)));
  } else {
    EXPECT_EQ(got.x, c10::BFloat16(value).x) << value;
  }
}

TEST_P(VectorKernelsOf, RoundsToTheNearestBfloat16) {
  for (std::int64_t width = 1; width < 140; ++width) {
    const std::int64_t ld = (width + 63) / 64 * 64;
    const auto x = values_to_round(random_, width);
    Guarded<c10::BFloat16> y(ld, c10::BFloat16(3.0F));
    kernels_.to_bfloat16(x.data(), width, ld, y.data());
    for (std::int64_t i = 0; i < ld; ++i) {
      if (i < width) {
        expect_rounded(y[i], x[static_cast<std::size_t>(i)]);
      } else {
        EXPECT_EQ(y[i].x, 0) << i;
      }
    }
  }
}

TEST_P(VectorKernelsOf, PairsRowsOfBfloat16) {
  for (const std::int64_t width : {1, 5, 16, 37}) {
    for (std::int64_t rows = 1; rows < 9; ++rows) {
      const std::int64_t padded_rows = (rows + 3) / 4 * 4;
      const auto x = values_to_round(random_, rows * width);
      Guarded<c10::BFloat16> y(padded_rows * width, c10::BFloat16(3.0F));
      kernels_.pair_rows(x.data(), rows, width, padded_rows, y.data());
      for (std::int64_t row = 0; row < padded_rows; ++row) {
        for (std::int64_t i = 0; i < width; ++i) {
          const c10::BFloat16 got = y[(row / 2 * width + i) * 2 + row % 2];
          if (row < rows) {
            expect_rounded(got, x[static_cast<std::size_t>(row * width + i)]);
          } else {
            EXPECT_EQ(got.x, 0);
          }
        }
      }
    }
  }
}

// A factor that leaves no number beyond float16 and some below its normal ones.
constexpr float kFactor = 0.125F;

void expect_rounded(c10::Half got, float value) {
  if (std::isnan(value)) {
    EXPECT_TRUE(std::isnan(static_cast<float>(got)));
  } else {
    EXPECT_EQ(got.x, c10::Half(value * kFactor).x) << value;
  }
}

std::vector<float> values_for_float16(std::mt19937_64& random, std::int64_t count) {
  std::normal_distribution<float> normal;
  std::vector<float> values(static_cast<std::size_t>(count));
  for (float& value : values) {
    value = std::ldexp(normal(random), static_cast<int>(random() % 30) - 14);
    // In the middle of two numbers.
    if (random() % 4 == 0) value = c10::Half(value) + std::ldexp(1.0F, std::ilogb(value) - 11);
    if (random() % 40 == 0) value = random() % 2 ? kNan : -kInfinity;
  }
  return values;
}

TEST_P(VectorKernelsOf, RoundsToTheNearestFloat16) {
  for (std::int64_t width = 1; width < 140; ++width) {
    const std::int64_t ld = (width + 63) / 64 * 64;
    const auto x = values_for_float16(random_, width);
    Guarded<c10::Half> y(ld, c10::Half(3.0F));
    kernels_.to_float16(x.data(), width, ld, kFactor, y.data());
    for (std::int64_t i = 0; i < ld; ++i) {
      if (i < width) {
        expect_rounded(y[i], x[static_cast<std::size_t>(i)]);
      } else {
        EXPECT_EQ(y[i].x, 0) << i;
      }
    }
  }
}

TEST_P(VectorKernelsOf, PairsRowsOfFloat16) {
  for (const std::int64_t width : {1, 5, 16, 37, 64, 130}) {
    for (std::int64_t rows = 1; rows < 9; ++rows) {
      const std::int64_t padded_rows = (rows + 3) / 4 * 4;
      const auto x = values_for_float16(random_, rows * width);
      Guarded<c10::Half> y(padded_rows * width, c10::Half(3.0F));
      kernels_.pair_rows_float16(x.data(), rows, width, padded_rows, kFactor, y.data());
      for (std::int64_t row = 0; row < padded_rows; ++row) {
        for (std::int64_t i = 0; i < width; ++i) {
          const c10::Half got = y[(row / 2 * width + i) * 2 + row % 2];
          if (row < rows) {
            expect_rounded(got, x[static_cast<std::size_t>(row * width + i)]);
          } else {
            EXPECT_EQ(got.x, 0);
          }
        }
      }
    }
  }
}

TEST_P(VectorKernelsOf, FindsTheLargestFiniteSize) {
  EXPECT_EQ(kernels_.largest_finite(nullptr, 0), 0.0F);
  for (std::int64_t count = 1; count < 70; ++count) {
    auto x = random(count);
    for (std::int64_t place = 0; place < count; ++place) {
      const auto at = static_cast<std::size_t>(place);
      const float before = x[at];
      for (const float large : {-100.0F, 3e38F}) {
        x[at] = large;
        EXPECT_EQ(kernels_.largest_finite(x.data(), count), std::abs(large)) << count;
      }
      x[at] = before;
    }
    auto poisoned = std::vector<float>(static_cast<std::size_t>(count), 0.0F);
    for (float& value : poisoned) {
      const float others[] = {kNan, kInfinity, -kInfinity};
      value = others[random_() % 3];
    }
    EXPECT_EQ(kernels_.largest_finite(poisoned.data(), count), 0.0F) << count;
    poisoned[static_cast<std::size_t>(below(count))] = -2.0F;
    EXPECT_EQ(kernels_.largest_finite(poisoned.data(), count), 2.0F) << count;
  }
}

TEST_P(VectorKernelsOf, WidensPairsExactly) {
  for (const std::int64_t columns : {1, 7, 8, 16, 19, 64, 72}) {
    const std::int64_t rows = 6;
    const auto values = values_to_round(random_, rows * columns);
    const auto scale = random(columns);
    std::vector<c10::BFloat16> bfloat16(values.size());
    std::vector<c10::Half> float16(values.size());
    for (std::int64_t i = 0; i < rows * columns; ++i) {
      const std::int64_t row = i / columns, column = i % columns;
      const auto at = static_cast<std::size_t>((row / 2 * columns + column) * 2 + row % 2);
      bfloat16[at] = c10::BFloat16(values[static_cast<std::size_t>(i)]);
      float16[at] = c10::Half(values[static_cast<std::size_t>(i)]);
    }
    Guarded<float> y(rows * columns), z(rows * columns);
    kernels_.widen_bfloat16(bfloat16.data(), rows, columns, y.data());
    kernels_.widen_float16(float16.data(), rows, columns, scale.data(), z.data());
    for (std::int64_t i = 0; i < rows * columns; ++i) {
      const float value = values[static_cast<std::size_t>(i)];
      const float wide = c10::BFloat16(value);
      const float half = c10::Half(value) * scale[static_cast<std::size_t>(i % columns)];
      EXPECT_TRUE(y[i] == wide || (std::isnan(y[i]) && std::isnan(wide))) << value;
      EXPECT_TRUE(z[i] == half || (std::isnan(z[i]) && std::isnan(half))) << value;
    }
  }
}

TEST_P(VectorKernelsOf, ScalesSumsByRowAndColumn) {
  const std::int64_t rows = 4, columns = 21, ld = 24;
  const std::vector<float> row_scale = {1.0F, 0.25F, 1e30F, 1e-30F};
  auto column_scale = random(columns);
  column_scale[5] = 1e-30F;
  column_scale[6] = 1e30F;
  const auto before = random(rows * ld);
  Guarded<float> sums(rows * ld);
  std::copy(before.begin(), before.end(), sums.data());
  kernels_.scale_sums(sums.data(), rows, columns, ld, row_scale.data(), column_scale.data());
  for (std::int64_t i = 0; i < rows * ld; ++i) {
    const auto row = static_cast<std::size_t>(i / ld), column = static_cast<std::size_t>(i % ld);
    double expected = before[static_cast<std::size_t>(i)];
    if (i % ld < columns) {
      expected *= static_cast<double>(row_scale[row]) * static_cast<double>(column_scale[column]);
    }
    EXPECT_EQ(sums[i], static_cast<float>(expected)) << i;
  }
}

TEST_P(VectorKernelsOf, QuantizesARowToTheNearestByte) {
  for (const std::int64_t width : {1, 2, 15, 16, 17, 64, 100}) {
    for (const float shift : {0.0F, 5.0F, -5.0F}) {
      const std::int64_t ld = (width + 63) / 64 * 64;
      auto x = random(width, 1.0F, shift);
      Guarded<std::uint8_t> y(ld, std::uint8_t{9});
      Guarded<float> scale(1);
      Guarded<std::int32_t> zero(1);
      kernels_.quantize(x.data(), width, ld, y.data(), scale.data(), zero.data());
      const double low = std::min(0.0F, *std::min_element(x.begin(), x.end()));
      const double high = std::max(0.0F, *std::max_element(x.begin(), x.end()));
      EXPECT_NEAR(scale[0], (high - low) / 255, 1e-6 * scale[0]);
      EXPECT_GE(zero[0], 0);
      EXPECT_LE(zero[0], 255);
      for (std::int64_t i = 0; i < ld; ++i) {
        if (i >= width) {
          EXPECT_EQ(y[i], 0);
        } else {
          EXPECT_NEAR((y[i] - zero[0]) * static_cast<double>(scale[0]),
                      x[static_cast<std::size_t>(i)], 0.5001 * scale[0])
              << width << " " << shift;
        }
      }
      x[static_cast<std::size_t>(below(width))] = kNan;
      kernels_.quantize(x.data(), width, ld, y.data(), scale.data(), zero.data());
      EXPECT_TRUE(std::isnan(scale[0])) << width;
    }
  }
  const std::vector<float> zeros(20, 0.0F);
  Guarded<std::uint8_t> y(64, std::uint8_t{9});
  float scale = kNan;
  std::int32_t zero = 9;
  kernels_.quantize(zeros.data(), 20, 64, y.data(), &scale, &zero);
  EXPECT_EQ(scale, 1.0F);
  for (std::int64_t i = 0; i < 20; ++i) EXPECT_EQ(y[i], zero);
}

TEST_P(VectorKernelsOf, QuantizesWeightsToWholeNumbersAboutZero) {
  for (const std::int64_t width : {1, 2, 15, 16, 17, 64, 100}) {
    const std::int64_t ld = (width + 63) / 64 * 64;
    auto x = random(width, 3.0F);
    Guarded<std::int8_t> y(ld, std::int8_t{9});
    Guarded<float> scale(1);
    Guarded<std::int32_t> sum(1);
    kernels_.quantize_weight(x.data(), width, ld, y.data(), scale.data(), sum.data());
    double largest = 0;
    for (const float value : x) largest = std::max<double>(largest, std::abs(value));
    EXPECT_NEAR(scale[0], largest / 127, 1e-6 * scale[0]);
    std::int32_t expected_sum = 0;
    for (std::int64_t i = 0; i < ld; ++i) {
      expected_sum += y[i];
      if (i >= width) {
        EXPECT_EQ(y[i], 0);
      } else {
        EXPECT_GE(y[i], -127);
        EXPECT_NEAR(y[i] * static_cast<double>(scale[0]), x[static_cast<std::size_t>(i)],
                    0.5001 * scale[0]);
      }
    }
    EXPECT_EQ(sum[0], expected_sum);
    x[static_cast<std::size_t>(below(width))] = kNan;
    kernels_.quantize_weight(x.data(), width, ld, y.data(), scale.data(), sum.data());
    EXPECT_TRUE(std::isnan(scale[0])) << width;
  }
  const std::vector<float> zeros(20, 0.0F);
  Guarded<std::int8_t> y(64, std::int8_t{9});
  float scale = kNan;
  std::int32_t sum = 9;
  kernels_.quantize_weight(zeros.data(), 20, 64, y.data(), &scale, &sum);
  EXPECT_EQ(scale, 0.0F);
  EXPECT_EQ(sum, 0);
  EXPECT_EQ(y[19], 0);
}

TEST_P(VectorKernelsOf, QuantizesValuesOfAnySize) {
  const std::int64_t width = 20, ld = 64;
  for (const float size : {1e-45F, 1e-40F, 1e-38F, 1e-36F, 1e-30F, 1e30F, 1.5e38F}) {
    for (const float sign : {1.0F, -1.0F}) {
      std::vector<float> x(width, size * sign);
      x[3] = 0.0F;
      Guarded<std::uint8_t> y(ld, std::uint8_t{9});
      float scale = kNan;
      std::int32_t zero = 9;
      kernels_.quantize(x.data(), width, ld, y.data(), &scale, &zero);
      Guarded<std::int8_t> w(ld, std::int8_t{9});
      float column_scale = kNan;
      std::int32_t sum = 9, expected_sum = 0;
      kernels_.quantize_weight(x.data(), width, ld, w.data(), &column_scale, &sum);
      EXPECT_TRUE(zero >= 0 && zero <= 255) << size;
      for (std::int64_t i = 0; i < width; ++i) {
        expected_sum += w[i];
        // A step, or what is nothing to any other value.
        const double allowed = std::max(static_cast<double>(size) / 100, 1e-38);
        const double value = x[static_cast<std::size_t>(i)];
        EXPECT_NEAR((y[i] - zero) * static_cast<double>(scale), value, allowed) << size;
        EXPECT_NEAR(w[i] * static_cast<double>(column_scale), value, allowed) << size;
      }
      EXPECT_EQ(sum, expected_sum) << size;
    }
  }
  for (const float poison : {kInfinity, -kInfinity}) {
    auto x = random(width);
    x[7] = poison;
    Guarded<std::uint8_t> y(ld);
    float scale = 0;
    std::int32_t zero = 0;
    kernels_.quantize(x.data(), width, ld, y.data(), &scale, &zero);
    EXPECT_FALSE(std::isfinite(scale));
    Guarded<std::int8_t> w(ld);
    kernels_.quantize_weight(x.data(), width, ld, w.data(), &scale, &zero);
    EXPECT_FALSE(std::isfinite(scale));
  }
}

TEST_P(VectorKernelsOf, TakesZeroPointsAndScalesOutOfSums) {
  const std::int64_t rows = 3, columns = 21, ld = 24;
  Guarded<float> sums(rows * ld);
  std::vector<std::int32_t> whole(static_cast<std::size_t>(rows * ld));
  for (auto& value : whole) value = static_cast<std::int32_t>(below(2000000)) - 1000000;
  std::memcpy(sums.data(), whole.data(), whole.size() * sizeof(std::int32_t));
  const auto row_scale = random(rows, 0.1F, 1.0F), column_scale = random(columns, 0.1F, 1.0F);
  const std::vector<std::int32_t> row_zero = {0, 17, 255};
  std::vector<std::int32_t> column_sum(static_cast<std::size_t>(columns));
  for (auto& value : column_sum) value = static_cast<std::int32_t>(below(4000)) - 2000;
  kernels_.dequantize(sums.data(), rows, columns, ld, row_scale.data(), row_zero.data(),
                      column_scale.data(), column_sum.data());
  for (std::int64_t i = 0; i < rows * ld; ++i) {
    const auto row = static_cast<std::size_t>(i / ld), column = static_cast<std::size_t>(i % ld);
    if (i % ld >= columns) {
      // NOLINTNEXTLINE(bugprone-suspicious-memory-comparison): the marks are bytes
      EXPECT_EQ(std::memcmp(&sums[i], &whole[static_cast<std::size_t>(i)], sizeof(float)), 0);
      continue;
    }
    const double expected = (static_cast<double>(whole[static_cast<std::size_t>(i)]) -
                             static_cast<double>(row_zero[row]) * column_sum[column]) *
                            row_scale[row] * column_scale[column];
    EXPECT_NEAR(sums[i], expected, 1e-6 * (1 + std::abs(expected)));
  }
}

TEST_P(VectorKernelsOf, MultipliesMatrices) {
  for (const std::int64_t m : {1, 5}) {
    for (const std::int64_t n : {1, 15, 16, 33, 64, 65, 100}) {
      for (const std::int64_t k : {1, 7, 40}) {
        const std::int64_t lda = k + 1, ldb = n + 2, ldc = n + 3;
        const auto a = random(m * lda), b = random(k * ldb), before = random(m * ldc);
        for (const bool accumulate : {false, true}) {
          Guarded<float> c(m * ldc);
          std::copy(before.begin(), before.end(), c.data());
          kernels_.gemm(m, n, k, a.data(), lda, b.data(), ldb, c.data(), ldc, accumulate);
          for (std::int64_t i = 0; i < m * ldc; ++i) {
            const std::int64_t row = i / ldc, column = i % ldc;
            double expected = before[static_cast<std::size_t>(i)];
            if (column < n) {
              if (!accumulate) expected = 0;
              for (std::int64_t j = 0; j < k; ++j) {
                expected += static_cast<double>(a[static_cast<std::size_t>(row * lda + j)]) *
                            b[static_cast<std::size_t>(j * ldb + column)];
              }
            }
            ASSERT_NEAR(c[i], expected, 1e-5) << m << " x " << n << " x " << k << ", at " << i;
          }
        }
      }
    }
  }
}

TEST(VectorKernels, AreThoseOfThisMachine) {
  const auto all = kernels_of_this_machine();
  EXPECT_NE(std::find(all.begin(), all.end(), &vector_kernels()), all.end());
}

INSTANTIATE_TEST_SUITE_P(All, VectorKernelsOf, ::testing::ValuesIn(kernels_of_this_machine()),
                         [](const auto& of) { return std::string(of.param->name); });

}  // namespace
}  // namespace testing
}  // namespace w2vbert
