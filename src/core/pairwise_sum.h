// numpy's order of summation: its results decide the last bits of what HF computes with numpy.
#pragma once

#include <cstdint>

namespace w2vbert {

// element(begin) + ... + element(begin + count - 1) as numpy's pairwise summation adds them
// (numpy/_core/src/umath/loops_utils.h.src) where the summed axis is contiguous in memory.
template <typename Value, typename Element>
Value pairwise_sum(std::int64_t begin, std::int64_t count, const Element& element) {
  if (count < 8) {
    Value sum = Value(-0.0);
    for (std::int64_t i = 0; i < count; ++i) sum += element(begin + i);
    return sum;
  }
  if (count <= 128) {
    Value sums[8];
    for (int k = 0; k < 8; ++k) sums[k] = element(begin + k);
    std::int64_t i = 8;
    for (; i < count - count % 8; i += 8) {
      for (int k = 0; k < 8; ++k) sums[k] += element(begin + i + k);
    }
    Value sum =
        ((sums[0] + sums[1]) + (sums[2] + sums[3])) + ((sums[4] + sums[5]) + (sums[6] + sums[7]));
    for (; i < count; ++i) sum += element(begin + i);
    return sum;
  }
  std::int64_t half = count / 2;
  half -= half % 8;
  return pairwise_sum<Value>(begin, half, element) +
         pairwise_sum<Value>(begin + half, count - half, element);
}

}  // namespace w2vbert
