#include <ATen/Version.h>

#include <string>

#include "engine/kernels/float16_gemm.h"
#include "engine/kernels/vector_kernels.h"
#if defined(__x86_64__)
#include <cpuid.h>
#endif

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
namespace AVX512FP16 {
extern const Float16Gemm kFloat16Gemm;
}
#endif

const VectorKernels& vector_kernels() {
  static const VectorKernels* const chosen = [] {
#if defined(__x86_64__)
    const std::string capability = at::get_cpu_capability();
    if (capability == "AVX512") return &AVX512::kVectorKernels;
    if (capability == "AVX2") return &AVX2::kVectorKernels;
#endif
    return &DEFAULT::kVectorKernels;
  }();
  return *chosen;
}

Float16Gemm float16_gemm() {
  static const Float16Gemm chosen = []() -> Float16Gemm {
#if defined(__x86_64__)
    // By number: older compilers have no name for it.
    constexpr unsigned kLeaf = 7, kAvx512Fp16 = 1U << 23;
    unsigned a = 0, b = 0, c = 0, d = 0;
    if (at::get_cpu_capability() == "AVX512" && __get_cpuid_count(kLeaf, 0, &a, &b, &c, &d) != 0 &&
        (d & kAvx512Fp16) != 0) {
      return AVX512FP16::kFloat16Gemm;
    }
#endif
    return nullptr;
  }();
  return chosen;
}

}  // namespace w2vbert
