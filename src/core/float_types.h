// The float types that LibTorch computes in everywhere.
#pragma once

#include <c10/core/ScalarType.h>

namespace w2vbert {

// Not those of 8 bits, which are stored and converted alone.
inline bool is_plain_float(c10::ScalarType type) {
  return type == c10::kFloat || type == c10::kDouble || type == c10::kHalf ||
         type == c10::kBFloat16;
}

}  // namespace w2vbert
