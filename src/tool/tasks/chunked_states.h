// Hidden states of clips that are longer than what goes through the model at a time.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

#include "tool/run/chunking.h"
#include "w2vbert/engine/engine.h"

namespace w2vbert::tool {

// For each clip and each of `wanted` the rows (T, C), as Engine::compute gives them: those of a
// long clip are its chunks', put together again. In one call of the engine there are `batch_frames`
// frames at most, or one chunk. Throws what the engine throws.
std::vector<ClipStates> states_in_chunks(Engine& engine, const std::vector<EngineClip>& clips,
                                         const std::vector<StateId>& wanted,
                                         const Chunking& chunking, std::int64_t batch_frames);

}  // namespace w2vbert::tool
