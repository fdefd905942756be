// A linear layer whose weight is laid out for the engine's products.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

#include "aligned_buffer.h"

namespace w2vbert {

// y = x W^T + b. The weight lies in panels of `panel_width` outputs, each (in, panel_width): a
// product of some rows with one panel is a task of its own, and what follows the product (bias,
// activation, gate) is done while the task's result is in the cache. The rows' results do not
// depend on how many rows there are.
class PackedLinear {
 public:
  static constexpr std::int64_t kPanelWidth = 64;

  PackedLinear() = default;
  // `weight` (out, in) and `bias` (out) or undefined, of any float type, times `scale`.
  PackedLinear(const at::Tensor& weight, const at::Tensor& bias, float scale = 1.0f,
               std::int64_t panel_width = kPanelWidth);

  std::int64_t in_features() const { return in_; }
  std::int64_t out_features() const { return out_; }
  std::int64_t panels() const { return (out_ + panel_width_ - 1) / panel_width_; }

  // x (rows, in) -> y (rows, out). Matrices have room for a granule of rows more.
  void forward(const float* x, std::int64_t rows, float* y) const;
  // y = swish(x W^T + b)
  void forward_swish(const float* x, std::int64_t rows, float* y) const;
  // y += x W^T + b
  void add_to(const float* x, std::int64_t rows, float* y) const;
  // y: one matrix (rows, panel_width) for each panel, `panel_stride` floats apart.
  void forward_panels(const float* x, std::int64_t rows, float* y, std::int64_t panel_stride) const;
  // For a weight that `interleave_gates` ordered: y (rows, columns) = a * sigmoid(b).
  void forward_glu(const float* x, std::int64_t rows, float* y, std::int64_t columns) const;

  // (2C, in): outputs and their gates -> each panel holds half a panel of outputs, then their
  // gates; where C is no multiple of half a panel, the rest of the last panel is zero.
  static at::Tensor interleave_gates(const at::Tensor& weight);

 private:
  template <class Tile>
  void for_each_tile(std::int64_t rows, const Tile& tile) const;
  const float* product(const float* x, std::int64_t rows, std::int64_t panel) const;
  std::int64_t width_of(std::int64_t panel) const;
  const float* bias_of(std::int64_t panel) const;

  std::int64_t in_ = 0, out_ = 0, panel_width_ = kPanelWidth;
  AlignedBuffer panels_;  // (panels, in, panel_width)
  AlignedBuffer bias_;    // (panels, panel_width), or empty
};

}  // namespace w2vbert
