// The words and numbers that the table, the JSON and the page of `w2vbert parity` share.
#pragma once

#include <cstdint>
#include <string>

#include "tool/parity/parity.h"

namespace w2vbert::tool {

inline constexpr const char* kModulesTitle = "modules, each fed with PyTorch's input for it";
inline constexpr const char* kChainTitle = "whole model, fed from the start";
inline constexpr const char* kGradientsTitle = "gradients";

// Three digits.
std::string short_number(double number);
std::string ulps_text(std::int64_t ulps);
std::string cosine_text(const Comparison& comparison);
// "12 module outputs, 3 outputs of the whole model, ...".
std::string count_text(const ParityResult& result);
std::string tolerance_text(const ParityTolerance& tolerance);
std::string verdict(const ParityResult& result);

// A row without numbers says why it is empty.
bool has_numbers(const ParityRow& row);
std::string why_empty(const ParityRow& row);

Settings ours_with_version(const ParityResult& result);

}  // namespace w2vbert::tool
