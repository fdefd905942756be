// What an engine computes its matrix products in.
#pragma once

#include <c10/core/ScalarType.h>

#include <optional>
#include <string>
#include <string_view>

namespace w2vbert {

/// int8: a scale for each row of inputs and each output of a weight, float32 between the products;
/// the fused engine alone has it.
enum class Precision { float32, bfloat16, float16, int8 };

inline constexpr Precision kPrecisions[] = {Precision::float32, Precision::bfloat16,
                                            Precision::float16, Precision::int8};

/// "float32", "bfloat16", "float16", "int8", and back; std::nullopt for another word.
std::string name_of(Precision precision);
std::optional<Precision> precision_of(std::string_view name);

/// The type of the states that a model gives in that precision: float32 for int8.
c10::ScalarType dtype_of(Precision precision);

}  // namespace w2vbert
