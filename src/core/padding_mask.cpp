#include "core/padding_mask.h"

#include <torch/types.h>

#include <limits>

namespace w2vbert {

double lowest_finite(at::ScalarType dtype) {
  switch (dtype) {
    case at::kHalf:
      return static_cast<float>(std::numeric_limits<at::Half>::lowest());
    case at::kBFloat16:
      return static_cast<float>(std::numeric_limits<at::BFloat16>::lowest());
    case at::kDouble:
      return std::numeric_limits<double>::lowest();
    default:
      return std::numeric_limits<float>::lowest();
  }
}

at::Tensor padded_frames(const at::Tensor& attention_mask) {
  if (!attention_mask.defined()) return {};
  return attention_mask.to(at::kBool).bitwise_not().unsqueeze(-1);  // (B, T) -> (B, T, 1)
}

at::Tensor zero_padded_frames(const at::Tensor& hidden_states, const at::Tensor& padded) {
  return padded.defined() ? hidden_states.masked_fill(padded, 0.0) : hidden_states;
}

at::Tensor bidirectional_mask(const at::Tensor& attention_mask, const at::Tensor& hidden_states,
                              bool sdpa, bool position_bias) {
  if (!attention_mask.defined()) return {};
  if (sdpa && !position_bias && attention_mask.to(at::kBool).all().item<bool>()) return {};
  const auto batch = attention_mask.size(0);
  const auto frames = attention_mask.size(1);
  at::Tensor keys = attention_mask
                        .to(at::kBool)  // (B, T) -> (B, 1, T, T)
                        .view({batch, 1, 1, frames})
                        .expand({batch, 1, frames, frames});
  if (sdpa) return keys;
  const auto zero = at::zeros({}, hidden_states.options());
  return at::where(keys, zero, lowest_finite(hidden_states.scalar_type()));
}

}  // namespace w2vbert
