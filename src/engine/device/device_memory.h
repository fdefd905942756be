// How many frames a device has memory for.
#pragma once

#include <c10/core/Device.h>
#include <c10/core/ScalarType.h>

#include <cstddef>
#include <cstdint>
#include <optional>

#include "w2vbert/config/wav2vec2_bert_config.h"

namespace w2vbert {

// Bytes that nothing has taken: of a GPU's memory, if this LibTorch tells; on a CPU those that the
// process may still take (core/memory.h).
std::optional<std::int64_t> free_memory(c10::Device device);

// What the device engine is asked for.
struct DeviceBatches {
  c10::ScalarType dtype = c10::ScalarType::Float;
  std::size_t states = 1;
  c10::ScalarType output_dtype = c10::ScalarType::Float;  // of the states that are downloaded
  std::int64_t at_once = 1;                               // batches on the device
};

// Bytes that a frame of a batch takes at most at a time, but for attention's scores.
std::int64_t device_frame_bytes(const Wav2Vec2BertConfig& config, const DeviceBatches& batches);

// Frames of a batch for which `free_bytes` suffice, weights included: an estimate from above of
// what a layer and the states take.
std::int64_t device_batch_frames(const Wav2Vec2BertConfig& config, const DeviceBatches& batches,
                                 std::int64_t free_bytes);

}  // namespace w2vbert
