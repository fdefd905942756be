#include "checkpoint/weight_checks.h"

#include <algorithm>

#include "core/text.h"

namespace w2vbert {

void check_destination(std::string_view name, std::span<const std::int64_t> shape,
                       std::string_view place, const at::Tensor& destination) {
  TORCH_CHECK_VALUE(destination.defined() && std::ranges::equal(destination.sizes(), shape),
                    quote_bytes(name), " has shape ", shape_text(shape), " ", place,
                    ", the tensor to read into ",
                    destination.defined() ? shape_text(destination.sizes()) : "is undefined");
}

void check_rows(std::string_view name, std::span<const std::int64_t> shape, std::int64_t first,
                std::int64_t count) {
  TORCH_CHECK_VALUE(!shape.empty() && first >= 0 && count >= 0 && first <= shape[0] - count,
                    quote_bytes(name), ": rows ", first, " to ", first + count, " of ",
                    shape_text(shape));
}

}  // namespace w2vbert
