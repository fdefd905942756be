// The weights of a sum of states, as s3prl's, SUPERB's and ESPnet's featurizers and HuggingFace's
// use_weighted_layer_sum learn them.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstddef>
#include <string>
#include <vector>

namespace w2vbert::tool {

class StateWeights {
 public:
  // Reads a .npy file, or a safetensors file that has one tensor, or one that is called
  // layer_weights (HuggingFace's) or weights (s3prl's): floats (N), finite in float32, at most
  // 2^16. The weights are their softmax, in their type, unless `softmax` is false. Throws
  // CheckpointError with the setting "state_weights".
  StateWeights(std::string path, bool softmax);

  // One for each of so many states. Throws UsageError where there are not as many.
  std::vector<double> of(std::size_t states) const;
  const std::string& digest() const noexcept {
    return digest_;
  }  // SHA-256 of what the file has, and of `softmax`

 private:
  std::string path_;
  std::vector<double> weights_;
  std::string digest_;
};

}  // namespace w2vbert::tool
