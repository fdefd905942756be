#include "tile_gemm.h"

#include <ATen/native/CPUBlas.h>
#include <c10/util/Exception.h>

#include "vector_kernels.h"

namespace w2vbert {

bool tile_gemm_is_onednn() {
  // LibTorch does not say what it supports, but refuses before it computes.
  static const bool works = [] {
    try {
      const float one = 1.0f;
      float product = 0.0f;
      at::native::cpublas::brgemm(1, 1, 1, 1, 1, 1, false, &one, &one, &product);
      return product == 1.0f;
    } catch (const c10::Error&) {
      return false;
    }
  }();
  return works;
}

void tile_gemm(std::int64_t m, std::int64_t n, std::int64_t k, const float* a, std::int64_t lda,
               const float* b, std::int64_t ldb, float* c, std::int64_t ldc, bool accumulate) {
  if (tile_gemm_is_onednn()) {
    at::native::cpublas::brgemm(m, n, k, lda, ldb, ldc, accumulate, a, b, c);
  } else {
    vector_kernels().gemm(m, n, k, a, lda, b, ldb, c, ldc, accumulate);
  }
}

}  // namespace w2vbert
