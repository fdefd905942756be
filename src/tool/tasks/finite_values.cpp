#include "tool/tasks/finite_values.h"

#include <ATen/ATen.h>

namespace w2vbert::tool {

at::Tensor extremes_of(const at::Tensor& values) {
  const auto [least, greatest] = at::aminmax(values);
  return at::stack({least, greatest});
}

at::Tensor are_finite(const at::Tensor& extremes) { return extremes.isfinite().all(-1); }

}  // namespace w2vbert::tool
