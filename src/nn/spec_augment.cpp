#include "nn/spec_augment.h"

#include <algorithm>
#include <vector>

namespace w2vbert {

torch::Tensor compute_mask_indices(std::int64_t batch, std::int64_t length,
                                   const SpecAugmentAxis& axis, const torch::Tensor& attention_mask,
                                   NumpyRandom& random) {
  const auto mask_length = axis.mask_length;
  TORCH_CHECK_VALUE(mask_length >= 1, axis.length_key, ": ", mask_length, ", expected 1 or more");
  TORCH_CHECK_VALUE(mask_length <= length, axis.length_key, ": ", mask_length,
                    ", expected at most the ", length, " positions of the axis");
  const double epsilon = random.rand();  // for probabilistic rounding
  const auto num_masked_spans = [&](std::int64_t input_length) {
    auto spans = static_cast<std::int64_t>(axis.mask_prob * static_cast<double>(input_length) /
                                               static_cast<double>(mask_length) +
                                           epsilon);
    spans = std::max(spans, axis.min_masks);
    if (spans * mask_length > length) spans = length / mask_length;
    return std::min(spans, std::max<std::int64_t>(input_length - (mask_length - 1), 0));
  };

  torch::Tensor mask = torch::zeros({batch, length}, torch::kBool);
  const auto max_spans = num_masked_spans(length);
  if (max_spans == 0) return mask;
  std::vector<std::int64_t> input_lengths(static_cast<std::size_t>(batch), length);
  if (attention_mask.defined()) {
    const torch::Tensor sums = attention_mask.detach().sum(-1).to(torch::kCPU, torch::kLong);
    for (std::int64_t row = 0; row < batch; ++row) {
      input_lengths[static_cast<std::size_t>(row)] = sums[row].item<std::int64_t>();
    }
  }
  for (std::int64_t row = 0; row < batch; ++row) {
    const auto input_length = input_lengths[static_cast<std::size_t>(row)];
    const auto population = std::max<std::int64_t>(input_length - (mask_length - 1), 0);
    const auto spans = num_masked_spans(input_length);
    std::vector<std::int64_t> starts = random.choice(population, spans);
    // HF: rows with fewer spans repeat their first one, or mark the last position.
    if (spans < max_spans) starts.push_back(starts.empty() ? length - 1 : starts.front());
    for (const auto start : starts) {
      mask[row].slice(0, start, std::min(start + mask_length, length)).fill_(true);
    }
  }
  return mask;
}

}  // namespace w2vbert
