// The ways in which the fused engine's products run, for tests that have to hold in each.
#pragma once

#include <gtest/gtest.h>

#include <string>

#include "engine/fused_encoder.h"
#include "engine/kernels/narrow_products.h"
#include "w2vbert/engine/precision.h"

namespace w2vbert::testing {

struct EngineProducts {
  Precision precision;
  NarrowProducts narrow = NarrowProducts::native;  // of bfloat16 and float16
};

inline constexpr EngineProducts kEngineProducts[] = {{Precision::float32},
                                                     {Precision::bfloat16},
                                                     {Precision::bfloat16, NarrowProducts::widened},
                                                     {Precision::float16},
                                                     {Precision::float16, NarrowProducts::widened},
                                                     {Precision::int8}};

inline std::string name_of(const EngineProducts& products) {
  return name_of(products.precision) +
         (products.narrow == NarrowProducts::widened ? "_widened" : "");
}

// While one of these lives, this thread's engines run so, also where the processor has no
// instructions for it.
class WithEngineProducts {
 public:
  explicit WithEngineProducts(const EngineProducts& products) : use_(products.narrow) {}

 private:
  AllowSlowProducts allow_;
  UseNarrowProducts use_;
};

// A test of each: INSTANTIATE_TEST_SUITE_P(All, ..., ::testing::ValuesIn(kEngineProducts), ...).
class InEngineProducts : public ::testing::TestWithParam<EngineProducts> {
 protected:
  static Precision precision() { return GetParam().precision; }

 private:
  WithEngineProducts with_{GetParam()};
};

}  // namespace w2vbert::testing
