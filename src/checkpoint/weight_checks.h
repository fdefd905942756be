// What every WeightSource refuses.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <span>
#include <string_view>

namespace w2vbert {

// Throw c10::ValueError, with `name` and the `shape` that the tensor has.

// For a destination that is undefined or has another shape. `place`: "in the checkpoint".
void check_destination(std::string_view name, std::span<const std::int64_t> shape,
                       std::string_view place, const at::Tensor& destination);
// For rows [first, first + count) that the tensor does not have.
void check_rows(std::string_view name, std::span<const std::int64_t> shape, std::int64_t first,
                std::int64_t count);

}  // namespace w2vbert
