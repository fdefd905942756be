// Whether computed values are finite, without waiting for a device.
#pragma once

#include <ATen/core/Tensor.h>

namespace w2vbert::tool {

// The least and the greatest of a tensor's values (2), of its dtype and on its device; NaN for both
// where it holds NaN. It must have a value.
at::Tensor extremes_of(const at::Tensor& values);

// `extremes`: those of several tensors (N, 2). Whether each has finite values alone (N).
at::Tensor are_finite(const at::Tensor& extremes);

}  // namespace w2vbert::tool
