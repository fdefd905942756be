// Mistakes that ports of the encoder make, and what their values would be: computed from what
// PyTorch's modules took and gave, and compared with what another engine gave.
#pragma once

#include <torch/types.h>

#include <cstdint>
#include <functional>
#include <optional>
#include <string>

#include "tool/parity/diagnosis.h"

namespace w2vbert::tool {

// The mistake whose values `pair.actual` has in the output `name`; nothing where it is of no known
// one. `frame_mask`: (B, T), true where a frame is one of the clip's; undefined where all are.
std::optional<Diagnosis> known_mistake(const DiagnosisInputs& inputs, const std::string& name,
                                       const OutputPair& pair, const torch::Tensor& frame_mask);

// The dimension along which an output's frames lie, its second or third; 0 where neither has
// `frames` of them.
std::int64_t frame_axis(const torch::Tensor& output, std::int64_t frames);

// (B, T, N) of such an output; undefined for others. `frames`: T.
torch::Tensor by_frames(const torch::Tensor& output, std::int64_t frames);

}  // namespace w2vbert::tool
