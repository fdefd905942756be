#include "checkpoint/tensor_dtype.h"

#include <array>
#include <utility>

namespace w2vbert {
namespace {

constexpr std::array<std::pair<std::string_view, c10::ScalarType>, 19> kTypes = {{
    {"BOOL", c10::ScalarType::Bool},
    {"U8", c10::ScalarType::Byte},
    {"I8", c10::ScalarType::Char},
    {"I16", c10::ScalarType::Short},
    {"I32", c10::ScalarType::Int},
    {"I64", c10::ScalarType::Long},
    {"U16", c10::ScalarType::UInt16},
    {"U32", c10::ScalarType::UInt32},
    {"U64", c10::ScalarType::UInt64},
    {"F16", c10::ScalarType::Half},
    {"BF16", c10::ScalarType::BFloat16},
    {"F32", c10::ScalarType::Float},
    {"F64", c10::ScalarType::Double},
    {"C64", c10::ScalarType::ComplexFloat},
    {"F8_E4M3", c10::ScalarType::Float8_e4m3fn},
    {"F8_E5M2", c10::ScalarType::Float8_e5m2},
    {"F8_E4M3FNUZ", c10::ScalarType::Float8_e4m3fnuz},
    {"F8_E5M2FNUZ", c10::ScalarType::Float8_e5m2fnuz},
    {"F8_E8M0", c10::ScalarType::Float8_e8m0fnu},
}};

}  // namespace

std::optional<c10::ScalarType> scalar_type_of(std::string_view dtype_name) {
  for (const auto& [name, type] : kTypes) {
    if (name == dtype_name) return type;
  }
  return std::nullopt;
}

bool is_weight_dtype(std::string_view dtype_name) {
  return dtype_name == "F16" || dtype_name == "BF16" || dtype_name == "F32" || dtype_name == "F64";
}

bool is_integer_dtype(std::string_view dtype_name) {
  const auto type = scalar_type_of(dtype_name);
  return type && c10::isIntegralType(*type, /*includeBool=*/true);
}

std::optional<std::string_view> dtype_name_of(c10::ScalarType type) {
  for (const auto& [name, known] : kTypes) {
    if (known == type) return name;
  }
  return std::nullopt;
}

}  // namespace w2vbert
