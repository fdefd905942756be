// safetensors' names of dtypes and LibTorch's.
#pragma once

#include <c10/core/ScalarType.h>

#include <optional>
#include <string_view>

namespace w2vbert {

// Nothing where the other side does not have the type (safetensors' F4, LibTorch's complex double).
std::optional<c10::ScalarType> scalar_type_of(std::string_view dtype_name);
std::optional<std::string_view> dtype_name_of(c10::ScalarType type);

// What floating parameters are loaded from, and the words of errors for it.
bool is_weight_dtype(std::string_view dtype_name);
inline constexpr std::string_view kWeightDtypes = "F32, F16, BF16 or F64";
// What integer and boolean buffers are loaded from.
bool is_integer_dtype(std::string_view dtype_name);
inline constexpr std::string_view kIntegerDtypes = "an integer dtype or BOOL";

}  // namespace w2vbert
