#include "core/mkl_vml.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include <mutex>

namespace w2vbert {

void warm_up_mkl_vml() {
  static std::once_flag warm;
  std::call_once(warm, [] {
    const at::NoGradGuard no_grad;
    for (const at::ScalarType dtype : {at::kFloat, at::kDouble}) {
      const at::Tensor x = at::full({1}, 0.5, at::dtype(dtype).device(at::kCPU));
      // Those that ATen/cpu/vml.h hands to MKL.
      for (const auto function :
           {at::acos, at::asin, at::atan, at::cos, at::erf, at::erfc, at::erfinv, at::exp, at::log,
            at::log10, at::log2, at::sin, at::sqrt, at::tan, at::tanh, at::trunc}) {
        function(x);
      }
    }
  });
}

}  // namespace w2vbert
