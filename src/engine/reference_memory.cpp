#include "engine/reference_memory.h"

#include <limits>
#include <string>

#include "engine/memory_check.h"

namespace w2vbert {

std::int64_t min_reference_bytes(const Wav2Vec2BertConfig& config, std::int64_t batch,
                                 std::int64_t frames, c10::ScalarType dtype) {
  // Doubles: the product of two sizes from a file may be beyond 64 bits.
  const auto scores = static_cast<double>(batch) * static_cast<double>(config.num_attention_heads) *
                      static_cast<double>(frames) * static_cast<double>(frames);
  double elements = 0;
  if (config.position_embeddings_type == "relative_key") {
    // The embeddings of all distances (T, T, D), and what they add to the scores (B, H, T, T).
    const std::int64_t head_size = config.hidden_size / config.num_attention_heads;
    elements = scores + static_cast<double>(frames) * static_cast<double>(frames) *
                            static_cast<double>(head_size);
  } else if (config.position_embeddings_type == "relative" ||
             config.attn_implementation != "sdpa") {
    // The positions' before and after the shift; or those before and after the scale.
    elements = 2 * scores;
  }
  const double bytes = elements * static_cast<double>(c10::elementSize(dtype));
  constexpr auto kMost = std::numeric_limits<std::int64_t>::max();
  return bytes < static_cast<double>(kMost) ? static_cast<std::int64_t>(bytes) : kMost;
}

void check_reference_memory(const Wav2Vec2BertConfig& config, std::int64_t batch,
                            std::int64_t frames, c10::ScalarType dtype, c10::Device device) {
  if (!device.is_cpu()) return;  // its allocator says when there is not enough
  check_memory(min_reference_bytes(config, batch, frames, dtype),
               "the reference engine: " + std::to_string(batch) + " x " + std::to_string(frames) +
                   " frames need at least");
}

}  // namespace w2vbert
