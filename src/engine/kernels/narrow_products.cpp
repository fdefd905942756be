#include "engine/kernels/narrow_products.h"

#include <c10/util/BFloat16.h>
#include <c10/util/Half.h>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <limits>
#include <vector>

#include "engine/kernels/tile_gemm.h"

namespace w2vbert {
namespace {

thread_local std::optional<NarrowProducts> products_to_use;

// A product as the engine's layers have them, and operands of ones.
template <class Element>
class TimedProduct {
 public:
  double seconds() {
    using Clock = std::chrono::steady_clock;
    const auto began = Clock::now();
    tile_gemm(kRows, kColumns, kInputs, rows_.data(), kInputs, weights_.data(), kColumns,
              sums_.data(), kColumns, false);
    return std::chrono::duration<double>(Clock::now() - began).count();
  }

 private:
  static constexpr std::int64_t kRows = 64, kColumns = 64, kInputs = 512;
  std::vector<Element> rows_ = std::vector<Element>(kRows * kInputs, Element(1.0f));
  std::vector<Element> weights_ = std::vector<Element>(kInputs * kColumns, Element(1.0f));
  std::vector<float> sums_ = std::vector<float>(kRows * kColumns);
};

template <class Element>
NarrowProducts measure_products(Precision precision) {
  if (!tile_gemm_is_fast(precision)) return NarrowProducts::widened;
  TimedProduct<Element> native;
  TimedProduct<float> widened;
  double fastest_native = std::numeric_limits<double>::infinity();
  double fastest_widened = fastest_native;
  constexpr int kRounds = 8;  // in turns; the first ones compile oneDNN's kernels
  for (int round = 0; round < kRounds; ++round) {
    fastest_native = std::min(fastest_native, native.seconds());
    fastest_widened = std::min(fastest_widened, widened.seconds());
  }
  // With a margin: processes of one run decide alike, also beside other work.
  constexpr double kMargin = 0.8;
  return fastest_native < kMargin * fastest_widened ? NarrowProducts::native
                                                    : NarrowProducts::widened;
}

}  // namespace

UseNarrowProducts::UseNarrowProducts(NarrowProducts products) : before_(products_to_use) {
  products_to_use = products;
}
UseNarrowProducts::~UseNarrowProducts() { products_to_use = before_; }

NarrowProducts narrow_products(Precision precision) {
  if (products_to_use) return *products_to_use;
  if (precision == Precision::bfloat16) {
    static const NarrowProducts bfloat16 = measure_products<c10::BFloat16>(precision);
    return bfloat16;
  }
  static const NarrowProducts float16 = measure_products<c10::Half>(Precision::float16);
  return float16;
}

Precision precision_beside_int8() {
  for (const Precision narrow : {Precision::bfloat16, Precision::float16}) {
    if (narrow_products(narrow) == NarrowProducts::native) return narrow;
  }
  return Precision::float32;
}

Precision rows_precision(Precision precision) {
  const bool narrow = precision == Precision::bfloat16 || precision == Precision::float16;
  return narrow && narrow_products(precision) == NarrowProducts::widened ? Precision::float32
                                                                         : precision;
}

}  // namespace w2vbert
