// Matrix products by instructions for float16.
#pragma once

#include <c10/util/Half.h>

#include <cstdint>

namespace w2vbert {

// C (m, n) = A (m, k) B (k, n), or C += A B, B in pairs of k (k / 2, ldb, 2); k is even. Over each
// 128 of k, those of even and those of odd number are summed in float16, 64 products each; the sums
// of these blocks are float32. They stay finite where no product is above 2^8. An element's bits do
// not depend on m or n.
using Float16Gemm = void (*)(std::int64_t m, std::int64_t n, std::int64_t k, const c10::Half* a,
                             std::int64_t lda, const c10::Half* b, std::int64_t ldb, float* c,
                             std::int64_t ldc, bool accumulate);

// Null where the processor (AVX512-FP16) or the compiler that built this does not have them, or
// ATEN_CPU_CAPABILITY forbids AVX-512.
Float16Gemm float16_gemm();

}  // namespace w2vbert
