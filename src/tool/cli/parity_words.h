// The words and numbers that the table, the JSON and the page of `w2vbert parity` share.
#pragma once

#include <cstdint>
#include <string>

#include "tool/parity/comparison.h"
#include "tool/parity/parity.h"

namespace w2vbert::tool {

inline constexpr const char* kGradientsTitle = "gradients";

std::string ulps_text(std::int64_t ulps);
std::string cosine_text(const Comparison& comparison);
// "12 module outputs, 3 outputs of the whole model, ...".
std::string count_text(const ParityResult& result);
std::string tolerance_text(const ParityTolerance& tolerance);
std::string verdict(const ParityResult& result);
// "modules, each fed with ...", and for another engine's dump that they are fed from the start.
std::string modules_title(const ParityResult& result);
std::string chain_title(const ParityResult& result);
// What stands for this side: "here", or "dump".
const char* our_side(const ParityResult& result);
inline constexpr std::size_t kMaxText = 1000;  // bytes of a sentence that are shown
// For a dump: "operation: encoder.layers.0.ffn1: ..."; else empty.
std::string diagnosis_text(const ParityResult& result);
// For a dump: which outputs of PyTorch it does not have, and which names are no output's.
std::string left_out_text(const ParityResult& result);

// A row without numbers says why it is empty.
bool has_numbers(const ParityRow& row);
std::string why_empty(const ParityRow& row);

Settings ours_with_version(const ParityResult& result);

}  // namespace w2vbert::tool
