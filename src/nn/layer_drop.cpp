#include "nn/layer_drop.h"

#include <ATen/CPUGeneratorImpl.h>

#include <limits>
#include <mutex>

namespace w2vbert {

float draw_uniform() {
  constexpr int kBits = std::numeric_limits<float>::digits;  // what at::uniform_ keeps of 32
  auto generator = at::detail::getDefaultCPUGenerator();
  const std::lock_guard<std::mutex> lock(generator.mutex());
  const auto bits = at::check_generator<at::CPUGeneratorImpl>(generator)->random();
  return static_cast<float>(bits & ((1U << kBits) - 1)) / static_cast<float>(1U << kBits);
}

}  // namespace w2vbert
