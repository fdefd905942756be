// What HF's operations take beyond the weights.
#pragma once

#include <c10/core/Device.h>
#include <c10/core/ScalarType.h>

#include <cstdint>

#include "w2vbert/config/wav2vec2_bert_config.h"

namespace w2vbert {

// Bytes that a forward of `batch` clips of `frames` frames takes at least, at once: of the tensors
// of an encoder layer that grow with the square of the frames. 2^63 - 1 for more.
std::int64_t min_reference_bytes(const Wav2Vec2BertConfig& config, std::int64_t batch,
                                 std::int64_t frames, c10::ScalarType dtype);

// check_memory() of that where `device` is a CPU. Throws c10::OutOfMemoryError.
void check_reference_memory(const Wav2Vec2BertConfig& config, std::int64_t batch,
                            std::int64_t frames, c10::ScalarType dtype, c10::Device device);

}  // namespace w2vbert
