// Hidden states of clips that are longer than what goes through the model at a time.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <functional>
#include <vector>

#include "tool/run/chunking.h"
#include "w2vbert/engine/engine.h"

namespace w2vbert::tool {

// What gives the same number of states (T, C) for each clip, as Engine::compute does.
using ComputeStates = std::function<std::vector<ClipStates>(const std::vector<EngineClip>&)>;

// For each clip the states (T, C) that `compute` gives: those of a long clip are its chunks', put
// together again. In one call there are `batch_frames` frames at most, or one chunk. Throws what
// `compute` throws.
std::vector<ClipStates> states_in_chunks(const ComputeStates& compute,
                                         const std::vector<EngineClip>& clips,
                                         const Chunking& chunking, std::int64_t batch_frames);

}  // namespace w2vbert::tool
