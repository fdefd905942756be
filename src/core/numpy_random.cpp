#include "w2vbert/core/numpy_random.h"

#include <bit>
#include <numeric>
#include <stdexcept>
#include <string>
#include <utility>

namespace w2vbert {

double NumpyRandom::rand() {
  // legacy_double: 53 bits of two draws.
  const std::uint32_t high = static_cast<std::uint32_t>(engine_()) >> 5;
  const std::uint32_t low = static_cast<std::uint32_t>(engine_()) >> 6;
  return (high * 67108864.0 + low) / 9007199254740992.0;
}

std::uint32_t NumpyRandom::interval(std::uint32_t most) {
  const std::uint32_t mask =
      most == 0 ? 0 : static_cast<std::uint32_t>(std::bit_ceil(std::uint64_t{most} + 1) - 1);
  while (true) {
    const std::uint32_t value = static_cast<std::uint32_t>(engine_()) & mask;
    if (value <= most) return value;
  }
}

std::vector<std::int64_t> NumpyRandom::choice(std::int64_t population, std::int64_t count) {
  constexpr std::int64_t kMaxPopulation = std::int64_t{1} << 32;  // interval() draws 32 bits
  if (count < 0 || count > population || population > kMaxPopulation) {
    throw std::invalid_argument(
        "choice: " + std::to_string(count) + " of " + std::to_string(population) +
        ", expected 0 <= count <= population <= " + std::to_string(kMaxPopulation));
  }
  // A whole permutation, of which the first ones are taken.
  std::vector<std::int64_t> items(static_cast<std::size_t>(population));
  std::iota(items.begin(), items.end(), 0);
  for (std::size_t i = items.size(); i-- > 1;) {
    std::swap(items[i], items[interval(static_cast<std::uint32_t>(i))]);
  }
  items.resize(static_cast<std::size_t>(count));
  return items;
}

}  // namespace w2vbert
