// Products of bfloat16 and float16: how they run, and those in float16 against exact sums.
#include "engine/kernels/narrow_products.h"

#include <c10/util/Half.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <random>
#include <thread>
#include <vector>

#include "engine/kernels/float16_gemm.h"
#include "engine/kernels/float16_range.h"
#include "engine/kernels/tile_gemm.h"

namespace w2vbert::testing {
namespace {

constexpr Precision kNarrow[] = {Precision::bfloat16, Precision::float16};

TEST(NarrowProducts, AreNativeOnlyWhereTheProcessorHasInstructions) {
  for (const Precision precision : kNarrow) {
    const NarrowProducts products = narrow_products(precision);
    if (!tile_gemm_is_fast(precision)) {
      EXPECT_EQ(products, NarrowProducts::widened) << name_of(precision);
    }
    // Once a process, on any thread.
    std::thread([&] { EXPECT_EQ(narrow_products(precision), products); }).join();
    const bool native = products == NarrowProducts::native;
    EXPECT_EQ(rows_precision(precision), native ? precision : Precision::float32);
  }
  EXPECT_EQ(rows_precision(Precision::float32), Precision::float32);
  EXPECT_EQ(rows_precision(Precision::int8), Precision::int8);
}

TEST(NarrowProducts, AreWhatAScopeOfThisThreadSays) {
  for (const Precision precision : kNarrow) {
    const NarrowProducts measured = narrow_products(precision);
    {
      const UseNarrowProducts widened(NarrowProducts::widened);
      EXPECT_EQ(rows_precision(precision), Precision::float32);
      {
        const UseNarrowProducts native(NarrowProducts::native);
        EXPECT_EQ(rows_precision(precision), precision);
        std::thread([&] { EXPECT_EQ(narrow_products(precision), measured); }).join();
      }
      EXPECT_EQ(narrow_products(precision), NarrowProducts::widened);
    }
    EXPECT_EQ(narrow_products(precision), measured);
  }
}

TEST(Float16Factor, BringsTheLargestValueBelowTheExponent) {
  const float largest = std::numeric_limits<float>::max();
  for (const float size : {largest, 1e20F, 65'504.0F, 16.0F, 0.1F, 1e-10F, 1e-25F}) {
    const float factor = float16_factor(size, 4);
    EXPECT_LT(size * factor, 16.0F) << size;
    EXPECT_GE(size * factor, 8.0F) << size;
    EXPECT_EQ(std::exp2(std::log2(factor)), factor) << size;
  }
  for (const float size : {15.99F, 8.0F, 1.0F, 0.25F, 0.0F}) {
    EXPECT_EQ(float16_factor(size, 4), 1.0F) << size;
  }
  // The smallest numbers have a factor whose inverse is a number, too.
  const float factor = float16_factor(std::numeric_limits<float>::denorm_min(), 4);
  EXPECT_TRUE(std::isfinite(factor) && std::isnormal(1.0F / factor));
  EXPECT_TRUE(std::isnormal(1.0F / float16_factor(largest, 8)));
}

struct Float16Product {
  Float16Product(std::int64_t rows, std::int64_t columns, std::int64_t inputs)
      : m(rows), n(columns), k(inputs), a(values(m * lda(), 1.0F)), b(values(k * ldb(), 0.2F)) {}

  std::int64_t lda() const { return k + 6; }
  std::int64_t ldb() const { return n + 3; }
  std::int64_t ldc() const { return n + 5; }

  std::vector<float> run(bool accumulate, float before) const {
    std::vector<float> c(static_cast<std::size_t>(m * ldc()), before);
    tile_gemm(m, n, k, a.data(), lda(), b.data(), ldb(), c.data(), ldc(), accumulate);
    return c;
  }
  float weight(std::int64_t input, std::int64_t column) const {
    return b[static_cast<std::size_t>((input / 2 * ldb() + column) * 2 + input % 2)];
  }
  // And the size of the largest sum that may occur on the way.
  std::pair<double, double> exact(std::int64_t row, std::int64_t column) const {
    double sum = 0, size = 0;
    for (std::int64_t i = 0; i < k; ++i) {
      const double product =
          static_cast<double>(a[static_cast<std::size_t>(row * lda() + i)]) * weight(i, column);
      sum += product;
      size += std::abs(product);
    }
    return {sum, size};
  }

  std::int64_t m, n, k;
  std::vector<c10::Half> a, b;

 private:
  static std::vector<c10::Half> values(std::int64_t count, float spread) {
    static std::mt19937 random(1);
    std::normal_distribution<float> normal(0.0F, spread);
    std::vector<c10::Half> all(static_cast<std::size_t>(count));
    std::generate(all.begin(), all.end(), [&] { return c10::Half(normal(random)); });
    return all;
  }
};

TEST(Float16Gemm, MultipliesMatricesOfAnySize) {
  for (const std::int64_t m : {1, 3, 4, 8, 11, 12, 13, 25, 40}) {
    for (const std::int64_t n : {1, 12, 15, 16, 17, 18, 31, 32, 33, 48, 64, 72}) {
      for (const std::int64_t k : {2, 14, 64, 126, 128, 130, 400}) {
        const Float16Product product(m, n, k);
        for (const bool accumulate : {false, true}) {
          const auto c = product.run(accumulate, 3.0F);
          for (std::int64_t i = 0; i < m * product.ldc(); ++i) {
            const std::int64_t row = i / product.ldc(), column = i % product.ldc();
            const float got = c[static_cast<std::size_t>(i)];
            if (column >= n) {
              ASSERT_EQ(got, 3.0F) << "written outside";
              continue;
            }
            const auto [sum, size] = product.exact(row, column);
            ASSERT_NEAR(got, sum + (accumulate ? 3.0 : 0.0), size / 256 + 1e-5)
                << m << " x " << n << " x " << k << ", at " << row << ", " << column;
          }
        }
      }
    }
  }
}

TEST(Float16Gemm, GivesARowTheSameBitsAmongAnyRowsAndColumns) {
  const Float16Product whole(29, 70, 390);
  const auto expected = whole.run(false, 0.0F);
  for (const std::int64_t m : {1, 2, 7, 12, 20, 28}) {
    for (const std::int64_t n : {1, 16, 20, 40, 69}) {
      for (const std::int64_t first : {std::int64_t{0}, 29 - m}) {
        std::vector<float> c(static_cast<std::size_t>(m * n));
        tile_gemm(m, n, whole.k, whole.a.data() + first * whole.lda(), whole.lda(), whole.b.data(),
                  whole.ldb(), c.data(), n, false);
        for (std::int64_t i = 0; i < m * n; ++i) {
          ASSERT_EQ(c[static_cast<std::size_t>(i)],
                    expected[static_cast<std::size_t>((first + i / n) * whole.ldc() + i % n)])
              << m << " x " << n << " from " << first;
        }
      }
    }
  }
}

// As large as operands get (kFloat16Exponent), and of one sign.
TEST(Float16Gemm, OverflowsForNoOperandsOfItsRange) {
  Float16Product product(9, 33, 1000);
  const c10::Half most(std::nextafter(std::exp2(static_cast<float>(kFloat16Exponent)), 0.0F) *
                       (1 - 1.0F / 2048));
  std::fill(product.a.begin(), product.a.end(), most);
  std::fill(product.b.begin(), product.b.end(), most);
  for (const float got : product.run(true, 0.0F)) EXPECT_TRUE(std::isfinite(got));
  // Exponentials and values.
  std::fill(product.a.begin(), product.a.end(), c10::Half(1.0F));
  std::fill(product.b.begin(), product.b.end(), c10::Half(255.9F));
  for (const float got : product.run(true, 0.0F)) EXPECT_TRUE(std::isfinite(got));
}

TEST(Float16Gemm, KeepsWhatIsNoNumber) {
  Float16Product product(9, 33, 300);
  product.a[static_cast<std::size_t>(4 * product.lda() + 129)] =
      std::numeric_limits<c10::Half>::quiet_NaN();
  product.b[static_cast<std::size_t>((75 * product.ldb() + 20) * 2 + 1)] =
      std::numeric_limits<c10::Half>::infinity();
  const auto c = product.run(false, 0.0F);
  for (std::int64_t row = 0; row < product.m; ++row) {
    for (std::int64_t column = 0; column < product.n; ++column) {
      const float got = c[static_cast<std::size_t>(row * product.ldc() + column)];
      EXPECT_EQ(std::isnan(got), row == 4) << row << " " << column;
      EXPECT_EQ(std::isinf(got), row != 4 && column == 20) << row << " " << column;
    }
  }
}

}  // namespace
}  // namespace w2vbert::testing
