// The steps of a layer between its matrix products, on any device.
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

struct DeviceActivation {
  std::shared_ptr<ActivationImpl> module;
  bool is_swish = false;  // x / (1 + e^-x), which HF calls "silu" as well

  at::Tensor operator()(const at::Tensor& rows) const { return module->forward(rows); }
};

// From pointwise_conv1's output to pointwise_conv2's input.
struct DeviceConv {
  std::shared_ptr<Conv1dImpl> depthwise_conv;  // (C, 1, K), without a bias
  at::Tensor weight_by_tap;                    // (K, C), the same weight
  DeviceLayerNorm depthwise_layer_norm;
  DeviceActivation activation;
};

// A self-attention, from its queries, keys and values to linear_out's input.
struct DeviceAttention {
  std::int64_t heads = 0;         // H
  at::Tensor distance_embedding;  // (left + 1 + right, D), or undefined: no positions
  std::int64_t left = 0, right = 0;
  bool sdpa = true;  // attn_implementation; a softmax treats queries without any key otherwise
};

// Nothing of it waits for the device.
class DeviceOps {
 public:
  virtual ~DeviceOps() = default;

  // LayerNorm of float32 rows (R, N), rounded to `dtype`.
  virtual at::Tensor layer_norm(const at::Tensor& rows, const DeviceLayerNorm& norm,
                                c10::ScalarType dtype) const = 0;
  // residual (R, C), which is float32, += scale * delta (R, C); then LayerNorm of it, rounded to
  // `dtype`.
  virtual at::Tensor add_layer_norm(at::Tensor& residual, const at::Tensor& delta, double scale,
                                    const DeviceLayerNorm& norm, c10::ScalarType dtype) const = 0;
  // activation(linear(rows)), (R, N) -> (R, M): the first half of a feed-forward module.
  virtual at::Tensor activated_linear(const DeviceLinear& linear,
                                      const DeviceActivation& activation,
                                      const at::Tensor& rows) const = 0;
  // (R, 2C) -> (R, C): GLU, the causal depthwise convolution of each clip, LayerNorm over the
  // channels, activation. Rows behind the clips are finite.
  virtual at::Tensor gated_conv(const DeviceConv& conv, const at::Tensor& rows,
                                const RaggedLayout& layout) const = 0;
  // Each clip over its own frames, as HF's (nn/self_attention.h). (R, 3C) -> (R, C). Rows behind
  // the clips are zeros.
  virtual at::Tensor attention(const DeviceAttention& attention, const at::Tensor& qkv,
                               const RaggedLayout& layout) const = 0;
};

}  // namespace w2vbert
