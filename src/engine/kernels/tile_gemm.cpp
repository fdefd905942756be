#include "engine/kernels/tile_gemm.h"

#include <ATen/native/CPUBlas.h>

#include <exception>

#include "engine/kernels/float16_gemm.h"
#include "engine/kernels/vector_kernels.h"

namespace w2vbert {
namespace {

using at::native::cpublas::brgemm;

// LibTorch does not say what it supports: it, or oneDNN below it, throws before it computes.
template <class Input, class Weight, class Output>
bool works() {
  constexpr int kSize = 4;
  const Input ones[kSize] = {Input(1), Input(1), Input(1), Input(1)};
  const Weight twos[kSize] = {Weight(2), Weight(2), Weight(2), Weight(2)};
  Output product = 0;
  try {
    brgemm(1, 1, kSize, kSize, 1, 1, false, ones, twos, &product);
  } catch (const std::exception&) {
    return false;
  }
  return product == Output(2 * kSize);
}

// oneDNN computes bfloat16 on any AVX-512 in float32, which is of no use.
bool bfloat16_works() {
#if defined(__x86_64__)
  return __builtin_cpu_supports("avx512bf16") && works<c10::BFloat16, c10::BFloat16, float>();
#else
  return false;
#endif
}

// A product whose B lies in groups of kGroup values of k.
template <std::int64_t kGroup, class Input, class Weight, class Sum>
void grouped_gemm(std::int64_t m, std::int64_t n, std::int64_t k, const Input* a, std::int64_t lda,
                  const Weight* b, std::int64_t ldb, Sum* c, std::int64_t ldc, bool accumulate) {
  for (std::int64_t row = 0; row < m; ++row) {
    for (std::int64_t column = 0; column < n; ++column) {
      Sum sum = 0;
      for (std::int64_t i = 0; i < k; ++i) {
        sum += static_cast<Sum>(a[row * lda + i]) *
               static_cast<Sum>(b[(i / kGroup * ldb + column) * kGroup + i % kGroup]);
      }
      Sum& to = c[row * ldc + column];
      to = accumulate ? to + sum : sum;
    }
  }
}

}  // namespace

bool tile_gemm_is_fast(Precision precision) {
  static const bool float32 = works<float, float, float>();
  static const bool bfloat16 = bfloat16_works();
  static const bool int8 = works<unsigned char, signed char, std::int32_t>();
  switch (precision) {
    case Precision::bfloat16:
      return bfloat16;
    case Precision::float16:
      return float16_gemm() != nullptr;
    case Precision::int8:
      return int8;
    default:
      return float32;
  }
}

void tile_gemm(std::int64_t m, std::int64_t n, std::int64_t k, const float* a, std::int64_t lda,
               const float* b, std::int64_t ldb, float* c, std::int64_t ldc, bool accumulate) {
  if (tile_gemm_is_fast(Precision::float32)) {
    brgemm(m, n, k, lda, ldb, ldc, accumulate, a, b, c);
  } else {
    vector_kernels().gemm(m, n, k, a, lda, b, ldb, c, ldc, accumulate);
  }
}

void tile_gemm(std::int64_t m, std::int64_t n, std::int64_t k, const c10::BFloat16* a,
               std::int64_t lda, const c10::BFloat16* b, std::int64_t ldb, float* c,
               std::int64_t ldc, bool accumulate) {
  if (tile_gemm_is_fast(Precision::bfloat16)) {
    brgemm(m, n, k, lda, ldb, ldc, accumulate, a, b, c);
    at::native::cpublas::brgemm_release();  // AMX tiles are the thread's
  } else {
    grouped_gemm<2>(m, n, k, a, lda, b, ldb, c, ldc, accumulate);
  }
}

void tile_gemm(std::int64_t m, std::int64_t n, std::int64_t k, const c10::Half* a, std::int64_t lda,
               const c10::Half* b, std::int64_t ldb, float* c, std::int64_t ldc, bool accumulate) {
  if (const Float16Gemm gemm = float16_gemm()) {
    gemm(m, n, k, a, lda, b, ldb, c, ldc, accumulate);
  } else {
    grouped_gemm<2>(m, n, k, a, lda, b, ldb, c, ldc, accumulate);
  }
}

void tile_gemm(std::int64_t m, std::int64_t n, std::int64_t k, const std::uint8_t* a,
               std::int64_t lda, const std::int8_t* b, std::int64_t ldb, std::int32_t* c,
               std::int64_t ldc, bool accumulate) {
  if (tile_gemm_is_fast(Precision::int8)) {
    brgemm(m, n, k, lda, ldb, ldc, accumulate, a, b, c);
    at::native::cpublas::brgemm_release();
  } else {
    grouped_gemm<4>(m, n, k, a, lda, b, ldb, c, ldc, accumulate);
  }
}

}  // namespace w2vbert
