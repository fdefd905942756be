// Compiled with the flags of AVX512-FP16 where the compiler knows them (CMakeLists.txt). No
// template of the standard library is used here, so that no function compiled for this CPU can be
// picked for an older one.
#include "engine/kernels/float16_gemm.h"

#ifdef __AVX512FP16__
#include <immintrin.h>
#endif

namespace w2vbert {

#ifdef __AVX512FP16__
namespace {

// Products in one float16 sum. 32 make the error a quarter smaller and the product 8 % slower, 128
// make it 1.4 times as large and 5 % faster (rows of 1,024 inputs).
constexpr std::int64_t kChain = 64;
constexpr std::int64_t kColumns = 16;  // of one vector: a pair of k for each

__mmask16 first_lanes(std::int64_t count) { return static_cast<__mmask16>((1U << count) - 1); }

// kRows rows by kVectors vectors of columns, whose sums stay in registers. A pair of a row's values
// is broadcast as 32 bits: a broadcast of 16 would take an arithmetic port. `last`: which columns
// the last vector has.
template <int kRows, int kVectors>
void multiply_tile(std::int64_t pairs, const c10::Half* a, std::int64_t lda, const c10::Half* b,
                   std::int64_t ldb, float* c, std::int64_t ldc, __mmask16 last, bool accumulate) {
  const auto mask_of = [last](int vector) {
    return vector + 1 < kVectors ? static_cast<__mmask16>(-1) : last;
  };
  for (std::int64_t begin = 0; begin < pairs; begin += kChain) {
    const std::int64_t end = pairs - begin < kChain ? pairs : begin + kChain;
    __m512h sums[kRows][kVectors];
    for (auto& row : sums) {
      for (__m512h& sum : row) sum = _mm512_setzero_ph();
    }
    for (std::int64_t pair = begin; pair < end; ++pair) {
      __m512h weights[kVectors];
      for (int vector = 0; vector < kVectors; ++vector) {
        weights[vector] = _mm512_castsi512_ph(
            _mm512_maskz_loadu_epi32(mask_of(vector), b + (pair * ldb + vector * kColumns) * 2));
      }
#pragma GCC unroll 12
      for (int row = 0; row < kRows; ++row) {
        int values;
        __builtin_memcpy(&values, a + row * lda + 2 * pair, sizeof values);
        const __m512h factors = _mm512_castsi512_ph(_mm512_set1_epi32(values));
        for (int vector = 0; vector < kVectors; ++vector) {
          sums[row][vector] = _mm512_fmadd_ph(factors, weights[vector], sums[row][vector]);
        }
      }
    }
#pragma GCC unroll 12
    for (int row = 0; row < kRows; ++row) {
      for (int vector = 0; vector < kVectors; ++vector) {
        // The sums of odd k lie in the upper half of each 32 bits.
        const __m512i both = _mm512_castph_si512(sums[row][vector]);
        const __m512h sum =
            _mm512_add_ph(sums[row][vector], _mm512_castsi512_ph(_mm512_srli_epi32(both, 16)));
        __m512 wide = _mm512_cvtph_ps(_mm512_cvtepi32_epi16(_mm512_castph_si512(sum)));
        float* to = c + row * ldc + vector * kColumns;
        if (accumulate || begin > 0) {
          wide = _mm512_add_ps(wide, _mm512_maskz_loadu_ps(mask_of(vector), to));
        }
        _mm512_mask_storeu_ps(to, mask_of(vector), wide);
      }
    }
  }
}

template <int kVectors>
void multiply_columns(std::int64_t m, std::int64_t pairs, const c10::Half* a, std::int64_t lda,
                      const c10::Half* b, std::int64_t ldb, float* c, std::int64_t ldc,
                      __mmask16 last, bool accumulate) {
  std::int64_t row = 0;
  const auto tiles = [&](auto tile, std::int64_t rows) {
    for (; row + rows <= m; row += rows) {
      tile(pairs, a + row * lda, lda, b, ldb, c + row * ldc, ldc, last, accumulate);
    }
  };
  tiles(multiply_tile<12, kVectors>, 12);
  tiles(multiply_tile<8, kVectors>, 8);
  tiles(multiply_tile<4, kVectors>, 4);
  tiles(multiply_tile<1, kVectors>, 1);
}

void multiply_float16(std::int64_t m, std::int64_t n, std::int64_t k, const c10::Half* a,
                      std::int64_t lda, const c10::Half* b, std::int64_t ldb, float* c,
                      std::int64_t ldc, bool accumulate) {
  // 32 columns of some hundred k fit into the first-level cache while the rows pass.
  std::int64_t column = 0;
  for (; column + kColumns < n; column += 2 * kColumns) {
    const std::int64_t last = n - column - kColumns;
    multiply_columns<2>(m, k / 2, a, lda, b + column * 2, ldb, c + column, ldc,
                        first_lanes(last < kColumns ? last : kColumns), accumulate);
  }
  if (column < n) {
    multiply_columns<1>(m, k / 2, a, lda, b + column * 2, ldb, c + column, ldc,
                        first_lanes(n - column), accumulate);
  }
}

}  // namespace
#endif

namespace AVX512FP16 {
extern const Float16Gemm kFloat16Gemm;
#ifdef __AVX512FP16__
const Float16Gemm kFloat16Gemm = multiply_float16;
#else
const Float16Gemm kFloat16Gemm = nullptr;
#endif
}  // namespace AVX512FP16

}  // namespace w2vbert
