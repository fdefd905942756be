// The steps of a layer between its matrix products, in ATen's operations: on any device, meta
// included, and without waiting for it.
#pragma once

#include <ATen/core/Tensor.h>
#include <c10/core/ScalarType.h>

#include <cstdint>
#include <memory>

#include "engine/device/ragged_layout.h"
#include "w2vbert/nn/activation.h"
#include "w2vbert/nn/conv1d.h"

namespace w2vbert {

struct DeviceLayerNorm {
  at::Tensor weight, bias;  // (N) float32
  double eps = 0;
};

// A linear map of rows, (R, N) -> (R, M).
struct DeviceLinear {
  at::Tensor weight;  // (M, N)
  at::Tensor bias;    // (M), or undefined

  at::Tensor operator()(const at::Tensor& rows) const;
};

// LayerNorm of float32 rows (R, N), rounded to `dtype`.
at::Tensor layer_norm(const at::Tensor& rows, const DeviceLayerNorm& norm, c10::ScalarType dtype);

// residual (R, C), which is float32, += scale * delta (R, C); then LayerNorm of it, rounded to
// `dtype`.
at::Tensor add_layer_norm(at::Tensor& residual, const at::Tensor& delta, double scale,
                          const DeviceLayerNorm& norm, c10::ScalarType dtype);

// From pointwise_conv1's output (R, 2C) to pointwise_conv2's input (R, C): GLU, the causal
// depthwise convolution of each clip, LayerNorm over the channels, activation.
struct GatedConv {
  std::shared_ptr<Conv1dImpl> depthwise_conv;
  at::Tensor layer_norm_weight, layer_norm_bias;  // (C), of the rows' dtype
  double layer_norm_eps = 0;
  std::shared_ptr<ActivationImpl> activation;

  at::Tensor operator()(const at::Tensor& rows, const RaggedLayout& layout) const;
};

// Each clip's self-attention over its own frames. As HF's (nn/self_attention.h), without the (T, T,
// D) tensor of positions: q.e[clip(j - i)] depends on the diagonal alone, so all of q.e, spread out
// to one column for each diagonal, is a matrix that holds the (T, T) biases when its rows are read
// one element less far apart. (Known from Transformer-XL as the relative shift.)
struct DeviceAttention {
  std::int64_t heads = 0;         // H
  at::Tensor distance_embedding;  // (left + 1 + right, D), or undefined: no positions
  std::int64_t left = 0, right = 0;
  bool sdpa = true;  // attn_implementation; a softmax treats queries without any key otherwise

  // Elements of the scores' biases that exist at once, unless one row of queries has more.
  std::int64_t max_elements = std::int64_t{1} << 28;

  // `qkv` (R, 3C): queries, keys and values -> (R, C).
  at::Tensor operator()(const at::Tensor& qkv, const RaggedLayout& layout) const;

 private:
  // (B, T, 3C) -> (B, T, C)
  at::Tensor attend(const at::Tensor& qkv, const ClipGroup& group) const;
  // `query` (B, H, Q, D), those from the clips' frame `first` on, and T keys -> (B, H, Q, T)
  at::Tensor position_bias(const at::Tensor& query, std::int64_t first, std::int64_t frames) const;
};

}  // namespace w2vbert
