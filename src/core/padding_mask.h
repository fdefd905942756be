// The forms that one padding mask takes on its way through the encoder.
#pragma once

#include <ATen/core/Tensor.h>

namespace w2vbert {

// bool (B, T, 1), true for the frames that `attention_mask` (B, T) leaves out; undefined in,
// undefined out.
at::Tensor padded_frames(const at::Tensor& attention_mask);

// Sets the frames that padded_frames() gives to 0 in `hidden_states` (B, T, C). Undefined: no
// frame is padding.
at::Tensor zero_padded_frames(const at::Tensor& hidden_states, const at::Tensor& padded);

// What HF's create_bidirectional_mask (transformers/masking_utils.py) makes of `attention_mask`
// (B, T) for an attention over T frames; undefined in, undefined out.
//   sdpa:  bool (B, 1, T, T), true where the key may be attended to
//   eager: `hidden_states`' dtype, 0 there and the lowest finite value elsewhere
// HF leaves a mask of ones out. For eager, and for sdpa with a `position_bias`, that changes no
// bit, and looking would wait for the device, so it stays here. For sdpa without a bias it decides
// which kernel runs: a mask of ones gives an undefined one, and this waits for the device, as HF
// does.
at::Tensor bidirectional_mask(const at::Tensor& attention_mask, const at::Tensor& hidden_states,
                              bool sdpa, bool position_bias);

// The lowest finite value of a floating-point dtype: torch.finfo(dtype).min.
double lowest_finite(at::ScalarType dtype);

}  // namespace w2vbert
