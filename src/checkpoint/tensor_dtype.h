// safetensors' names of dtypes and LibTorch's.
#pragma once

#include <c10/core/ScalarType.h>

#include <optional>
#include <string_view>

namespace w2vbert {

// None where the other side has no such type (safetensors' F4, LibTorch's complex double).
std::optional<c10::ScalarType> scalar_type_of(std::string_view dtype_name);
std::optional<std::string_view> dtype_name_of(c10::ScalarType type);

}  // namespace w2vbert
