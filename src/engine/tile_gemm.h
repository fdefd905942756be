// One small matrix product, the unit that the engine's work is cut into.
#pragma once

#include <cstdint>

namespace w2vbert {

// C (m, n) = A (m, k) B (k, n), or C += A B. Row-major, `ld*` floats from row to row. Runs on the
// calling thread. Each element is one sum over k in order: it does not depend on m or n.
// oneDNN compiles a kernel for each (m, n, k, ld*): keep their number small.
void tile_gemm(std::int64_t m, std::int64_t n, std::int64_t k, const float* a, std::int64_t lda,
               const float* b, std::int64_t ldb, float* c, std::int64_t ldc, bool accumulate);

// Whether tile_gemm runs on oneDNN's kernels here, or on the engine's own, slower loop.
bool tile_gemm_is_onednn();

}  // namespace w2vbert
