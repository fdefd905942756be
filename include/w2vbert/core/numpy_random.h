// The random numbers of numpy.random.seed, .rand and .choice. Torch-free.
#pragma once

#include <cstdint>
#include <random>
#include <vector>

namespace w2vbert {

/// NumPy's legacy generator (numpy/random/mtrand.pyx): after numpy.random.seed(seed) the same
/// draws. Not for two threads at once.
class NumpyRandom {
 public:
  explicit NumpyRandom(std::uint32_t seed) : engine_(seed) {}

  /// numpy.random.rand(): [0, 1).
  double rand();

  /// numpy.random.choice(numpy.arange(population), count, replace=False). Throws
  /// std::invalid_argument where NumPy raises ValueError, unless 0 <= count <= population, and for
  /// a population above 2^32, for which NumPy draws 64 bits at a time.
  std::vector<std::int64_t> choice(std::int64_t population, std::int64_t count);

 private:
  /// From 0 to `most`, which is below 2^32.
  std::uint32_t interval(std::uint32_t most);

  std::mt19937 engine_;
};

}  // namespace w2vbert
