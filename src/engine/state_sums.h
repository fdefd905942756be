// States as they pass -> their sums.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

#include "w2vbert/engine/engine.h"

namespace w2vbert {

// Throws UsageError for a number beyond `layers`, c10::ValueError for sums that are not as StateSum
// says.
void check_sums(const std::vector<StateSum>& sums, std::int64_t layers);

// Adds states up as the layers give them. A row's sum does not depend on the other rows, nor on
// threads: products and sums are rounded one by one.
class StateSums {
 public:
  explicit StateSums(const std::vector<StateSum>& sums);  // checked; they outlive this

  // The highest number; -1 where there are no sums.
  std::int64_t last() const noexcept { return last_; }
  // Adds hidden_states[number] (rows, C) to the sums that have it; `state` may be written
  // afterwards.
  void add(std::int64_t number, const at::Tensor& state);
  // One for each sum: (rows, C), float32, or float64 of such states.
  std::vector<at::Tensor> take();

 private:
  const std::vector<StateSum>& sums_;
  std::vector<at::Tensor> added_;
  std::int64_t last_ = -1;
};

}  // namespace w2vbert
