// A linear layer whose weight is laid out for the engine's products.
#pragma once

#include <ATen/core/Tensor.h>
#include <c10/core/ScalarType.h>

#include <cstdint>
#include <functional>

#include "engine/kernels/packed_rows.h"
#include "engine/scratch_buffer.h"

namespace w2vbert {

// The rows of a weight (rows, width), wherever they lie: read(first, count, to) writes rows
// [first, first + count) as float32, one behind the other. Called from several threads at once.
struct WeightRows {
  std::int64_t rows = 0, width = 0;
  std::function<void(std::int64_t first, std::int64_t count, float* to)> read;
  bool in_file = false;  // they stay where they are, and can be read again
};
// Of a linear layer's weight, or a pointwise convolution's (out, in, 1), of any float type.
WeightRows rows_of(const at::Tensor& weight);

// y = x W^T + b. The weight lies in panels of `panel_width` outputs, each (in, panel_width): a
// product of some rows with one panel is a task of its own, and what follows the product (bias,
// activation, gate) is done while the task's result is in the cache. The rows' results do not
// depend on how many rows there are. In bfloat16 the products' inputs are rounded and their sums
// float32; in int8 the weight has a scale for each output, and the sums are whole numbers.
//
// A weight that is in a file stays there until pack(): each product lays the panel that it needs
// out in a thread's own memory and forgets it. One pass over a model is faster so than with memory
// for all of it, which the kernel has to clear first.
class PackedLinear {
 public:
  static constexpr std::int64_t kPanelWidth = 64;

  PackedLinear() = default;
  // `weight` (out, in) and `bias` (out) or undefined, of any float type, times `scale`; for inputs
  // of `precision`: Float, BFloat16 or Char (int8).
  PackedLinear(const WeightRows& weight, const at::Tensor& bias, c10::ScalarType precision,
               float scale = 1.0f, std::int64_t panel_width = kPanelWidth);

  // Lays the weight out, once for all products that follow.
  void pack();

  c10::ScalarType precision() const { return precision_; }
  std::int64_t in_features() const { return in_; }
  std::int64_t out_features() const { return out_; }
  std::int64_t panels() const { return (out_ + panel_width_ - 1) / panel_width_; }

  // Of `rows` rows of x (.., in) from `first` on: y (rows, out) = x W^T + b. x has this precision,
  // and room for a granule of rows more.
  void forward(const PackedRows& x, std::int64_t first, std::int64_t rows, float* y) const;
  // y = swish(x W^T + b)
  void forward_swish(const PackedRows& x, std::int64_t first, std::int64_t rows, float* y) const;
  // y += x W^T + b
  void add_to(const PackedRows& x, std::int64_t first, std::int64_t rows, float* y) const;
  // y: one matrix (rows, panel_width) for each panel, `panel_stride` floats apart.
  void forward_panels(const PackedRows& x, std::int64_t first, std::int64_t rows, float* y,
                      std::int64_t panel_stride) const;
  // For a weight (and a bias) that `interleave_gates` ordered: y (rows, columns) = a * sigmoid(b).
  void forward_glu(const PackedRows& x, std::int64_t first, std::int64_t rows, float* y,
                   std::int64_t columns) const;

  // (2C, in): outputs and their gates -> each panel holds half a panel of outputs, then their
  // gates; where C is no multiple of half a panel, the rest of the last panel is zero.
  static WeightRows interleave_gates(const WeightRows& weight);

 private:
  // One task: a block of rows, one panel and its weights.
  struct Tile {
    std::int64_t row, rows, panel;
    const float* weights;
  };
  template <class Function>
  void for_each_tile(std::int64_t rows, const Function& function) const;
  void pack_panel(std::int64_t panel, float* to) const;
  float* product(const PackedRows& x, std::int64_t first, const Tile& tile) const;
  std::int64_t width_of(std::int64_t panel) const;
  const float* bias_of(std::int64_t panel) const;
  // Floats (or groups of narrower numbers) in a panel's weights, and in a whole panel.
  std::int64_t weights_size() const;
  std::int64_t panel_size() const;

  c10::ScalarType precision_ = c10::ScalarType::Float;
  std::int64_t in_ = 0, out_ = 0, panel_width_ = kPanelWidth;
  std::int64_t packed_in_ = 0;  // in, and zeros up to a whole group
  WeightRows source_;           // until they are kept
  float scale_ = 1.0f;
  // Each panel (packed_in, panel_width), the inputs in groups of 1, 2 or 4 (tile_gemm.h). int8:
  // behind that for each output its scale, and its sum of weights as int32.
  ScratchBuffer panels_;
  ScratchBuffer bias_;  // (panels, panel_width), or empty
};

}  // namespace w2vbert
