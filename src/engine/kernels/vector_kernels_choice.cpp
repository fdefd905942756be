#include <ATen/Version.h>

#include <string>

#include "engine/kernels/vector_kernels.h"

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

}  // namespace w2vbert
