// One small matrix product, the unit that the engine's work is cut into.
#pragma once

#include <c10/util/BFloat16.h>
#include <c10/util/Half.h>

#include <cstdint>

#include "w2vbert/engine/precision.h"

namespace w2vbert {

// C (m, n) = A (m, k) B (k, n), or C += A B. Row-major, `ld*` elements from row to row. Runs on the
// calling thread. A float32 element is one sum over k in order: it does not depend on m or n.
// oneDNN compiles a kernel for each (m, n, k, ld*): keep their number small.
void tile_gemm(std::int64_t m, std::int64_t n, std::int64_t k, const float* a, std::int64_t lda,
               const float* b, std::int64_t ldb, float* c, std::int64_t ldc, bool accumulate);
// The same with B in pairs of k, (k / 2, ldb, 2), and in fours of k, (k / 4, ldb, 4). In float16
// short sums are float16 (float16_gemm.h).
void tile_gemm(std::int64_t m, std::int64_t n, std::int64_t k, const c10::BFloat16* a,
               std::int64_t lda, const c10::BFloat16* b, std::int64_t ldb, float* c,
               std::int64_t ldc, bool accumulate);
void tile_gemm(std::int64_t m, std::int64_t n, std::int64_t k, const c10::Half* a, std::int64_t lda,
               const c10::Half* b, std::int64_t ldb, float* c, std::int64_t ldc, bool accumulate);
void tile_gemm(std::int64_t m, std::int64_t n, std::int64_t k, const std::uint8_t* a,
               std::int64_t lda, const std::int8_t* b, std::int64_t ldb, std::int32_t* c,
               std::int64_t ldc, bool accumulate);

// Whether tile_gemm of a precision runs on oneDNN's kernels here (float16: on float16_gemm), or on
// loops that are slower: without instructions for it, much slower.
bool tile_gemm_is_fast(Precision precision);

}  // namespace w2vbert
