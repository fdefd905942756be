#include "nn/layer_drop.h"

#include <ATen/CPUGeneratorImpl.h>

#include <limits>
#include <mutex>

namespace w2vbert {
namespace {

float draw_uniform() {
  constexpr int kBits = std::numeric_limits<float>::digits;  // what at::uniform_ keeps of 32
  auto generator = at::detail::getDefaultCPUGenerator();
  const std::lock_guard<std::mutex> lock(generator.mutex());
  const auto bits = at::check_generator<at::CPUGeneratorImpl>(generator)->random();
  return static_cast<float>(bits & ((1U << kBits) - 1)) / static_cast<float>(1U << kBits);
}

}  // namespace

std::optional<float> draw_layerdrop(const Wav2Vec2BertConfig& config, bool is_training) {
  // Up to 5.22 a number is drawn for every layer, in evaluation too.
  const bool always_draws = config.hf_version < HfVersion::v5_23;
  if (!always_draws && !(is_training && config.layerdrop > 0.0)) return std::nullopt;
  const float drawn = draw_uniform();
  if (!is_training) return std::nullopt;
  return drawn;
}

}  // namespace w2vbert
