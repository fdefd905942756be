#include "engine/device/device_memory.h"

#include <ATen/DeviceAccelerator.h>
#include <c10/util/Exception.h>
#include <torch/version.h>

#include <algorithm>

#include "core/memory.h"
#include "engine/device/aten_ops.h"

namespace w2vbert {

std::optional<std::int64_t> free_memory(c10::Device device) {
  if (device.is_cpu()) return usable_memory();
#if TORCH_VERSION_MAJOR > 2 || TORCH_VERSION_MINOR >= 11
  try {
    const auto [free_bytes, all_bytes] =
        at::getDeviceAllocator(device.type())->getMemoryInfo(device.index());
    return static_cast<std::int64_t>(free_bytes);
  } catch (const c10::Error&) {  // an allocator that cannot tell
  }
#endif
  return std::nullopt;
}

std::int64_t device_frame_bytes(const Wav2Vec2BertConfig& config, const DeviceBatches& batches) {
  constexpr auto kFloatBytes = static_cast<std::int64_t>(sizeof(float));
  const auto element = static_cast<std::int64_t>(c10::elementSize(batches.dtype));
  const auto output = static_cast<std::int64_t>(c10::elementSize(batches.output_dtype));
  const std::int64_t hidden = config.hidden_size;
  // A feed forward's input and output, and twice what is between them.
  const std::int64_t feed_forward = element * (2 * hidden + 2 * config.intermediate_size);
  // The gated convolution's: rows without gaps, and rows of clips that are as long as the gaps
  // between them; what its LayerNorm reads and writes is float32.
  const std::int64_t convolution = hidden * (element * (4 + 2 * 4) + 2 * kFloatBytes);
  // Beside the residual stream, and the features.
  const std::int64_t layer = std::max(feed_forward, convolution) + hidden * kFloatBytes +
                             2 * config.feature_projection_input_dim * kFloatBytes;
  // A state in the batch's rows and in the clip's own, and as it is downloaded.
  const std::int64_t state = hidden * (2 * element + output);
  return layer + static_cast<std::int64_t>(batches.states) * state;
}

std::int64_t device_batch_frames(const Wav2Vec2BertConfig& config, const DeviceBatches& batches,
                                 std::int64_t free_bytes) {
  // One half is for the weights, and for what an allocator cannot give because it is in pieces.
  const std::int64_t bytes = free_bytes / 2 / std::max<std::int64_t>(1, batches.at_once);
  // Attention's biases and scores of whatever clips; long ones, where a quarter does not suffice.
  const std::int64_t attention =
      std::min(bytes / 4, 3 * static_cast<std::int64_t>(c10::elementSize(batches.dtype)) *
                              AtenOps::kMaxBiases);
  return (bytes - attention) / device_frame_bytes(config, batches);
}

}  // namespace w2vbert
