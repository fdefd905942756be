#include "core/dtype.h"

namespace w2vbert {
namespace {

struct DtypeName {
  c10::ScalarType dtype;
  const char* name;
};
constexpr DtypeName kDtypeNames[] = {{c10::ScalarType::Float, "float32"},
                                     {c10::ScalarType::BFloat16, "bfloat16"},
                                     {c10::ScalarType::Half, "float16"},
                                     {c10::ScalarType::Double, "float64"}};

}  // namespace

std::optional<c10::ScalarType> dtype_of(std::string_view name) {
  for (const DtypeName& entry : kDtypeNames) {
    if (name == entry.name) return entry.dtype;
  }
  return std::nullopt;
}

std::string dtype_name(c10::ScalarType dtype) {
  for (const DtypeName& entry : kDtypeNames) {
    if (dtype == entry.dtype) return entry.name;
  }
  return "";
}

}  // namespace w2vbert
