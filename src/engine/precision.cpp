#include "w2vbert/engine/precision.h"

namespace w2vbert {
namespace {

struct Row {
  Precision precision;
  const char* name;
  c10::ScalarType dtype;
};
constexpr Row kRows[] = {{Precision::float32, "float32", c10::ScalarType::Float},
                         {Precision::bfloat16, "bfloat16", c10::ScalarType::BFloat16},
                         {Precision::float16, "float16", c10::ScalarType::Half},
                         {Precision::int8, "int8", c10::ScalarType::Float}};

}  // namespace

std::string name_of(Precision precision) { return kRows[static_cast<std::size_t>(precision)].name; }

std::optional<Precision> precision_of(std::string_view name) {
  for (const Row& row : kRows) {
    if (name == row.name) return row.precision;
  }
  return std::nullopt;
}

c10::ScalarType dtype_of(Precision precision) {
  return kRows[static_cast<std::size_t>(precision)].dtype;
}

}  // namespace w2vbert
