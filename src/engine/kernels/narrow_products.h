// How products of bfloat16 and float16 run here.
#pragma once

#include <optional>

#include "w2vbert/engine/precision.h"

namespace w2vbert {

enum class NarrowProducts {
  native,   // both matrices are in that type, multiplied by instructions for it
  widened,  // the weights are in that type, and widened to float32 for each product; the rows and
            // the product are float32
};

// Native where that is faster by a fifth or more for bfloat16 or float16 on this processor:
// measured when it is first asked for, in about a millisecond. Instructions for a type may be
// slower than those for float32: those of AVX512-BF16 are, without AMX.
NarrowProducts narrow_products(Precision precision);

// While one of these lives, what this thread makes runs in one way, also on loops without
// instructions for it: so that each processor's tests run both.
class UseNarrowProducts {
 public:
  explicit UseNarrowProducts(NarrowProducts products);
  ~UseNarrowProducts();
  UseNarrowProducts(const UseNarrowProducts&) = delete;
  UseNarrowProducts& operator=(const UseNarrowProducts&) = delete;

 private:
  std::optional<NarrowProducts> before_;
};

// What the rows and the attention of a layer in `precision` are in: float32 where its products are
// widened.
Precision rows_precision(Precision precision);

// What the steps of an int8 engine are computed in that int8 would make too coarse: bfloat16, else
// float16, where its products are faster than float32's, else float32.
Precision precision_beside_int8();

}  // namespace w2vbert
