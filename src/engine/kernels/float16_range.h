// Powers of two that bring values into float16's range: its largest number is 65,504, and below
// 2^-14 its numbers have less than 11 bits.
#pragma once

#include <algorithm>
#include <cmath>

namespace w2vbert {

// Exponents of two that operands of float16_gemm stay below, so that no sum of it overflows: rows
// and weights, queries and keys; and the values that are multiplied by at most 1.
inline constexpr int kFloat16Exponent = 4;
inline constexpr int kFloat16ValueExponent = 8;

// What values of up to `largest` in size, finite, are multiplied with for float16: a power of two
// that brings them below 2^exponent, or 1 where they are there and not far below it.
inline float float16_factor(float largest, int exponent) {
  constexpr int kFarBelow = 6, kMaxShift = 100;
  int has = 0;  // largest < 2^has
  if (largest > 0.0f) std::frexp(largest, &has);
  const int shift = exponent - has;
  if (largest == 0.0f || (shift >= 0 && shift <= kFarBelow)) return 1.0f;
  return std::ldexp(1.0f, std::min(shift, kMaxShift));
}

}  // namespace w2vbert
