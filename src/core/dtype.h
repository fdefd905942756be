// The names that PyTorch and HF's configs have for the types a model can compute in.
#pragma once

#include <c10/core/ScalarType.h>

#include <optional>
#include <string>
#include <string_view>

namespace w2vbert {

// "float32", "bfloat16", "float16" or "float64"; nothing for another word, and for another
// type "".
std::optional<c10::ScalarType> dtype_of(std::string_view name);
std::string dtype_name(c10::ScalarType dtype);

}  // namespace w2vbert
