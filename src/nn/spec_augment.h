#pragma once

#include <torch/types.h>

#include <cstdint>

#include "w2vbert/core/numpy_random.h"

namespace w2vbert {

// One axis of SpecAugment: config.mask_time_* or config.mask_feature_*.
struct SpecAugmentAxis {
  double mask_prob = 0.0;
  std::int64_t mask_length = 1;
  std::int64_t min_masks = 0;
  const char* length_key = "mask_length";  // what errors call mask_length
};

// HF: modeling_wav2vec2_bert.py, _compute_mask_indices. `attention_mask` (B, length), whose rows'
// sums shorten what is masked, or undefined -> bool (B, length) on the CPU, true where a span lies.
// Waits for the mask's device, as HF does. Throws c10::ValueError when a span is longer than the
// axis.
torch::Tensor compute_mask_indices(std::int64_t batch, std::int64_t length,
                                   const SpecAugmentAxis& axis, const torch::Tensor& attention_mask,
                                   NumpyRandom& random);

}  // namespace w2vbert
