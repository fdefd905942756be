// A linear layer whose weight is laid out for the engine's products.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "engine/kernels/packed_rows.h"
#include "engine/kernels/vector_kernels.h"
#include "engine/scratch_buffer.h"
#include "engine/weight_scope.h"
#include "w2vbert/engine/precision.h"

namespace w2vbert {

// Which linear layers of a source make one packed layer, and what is folded into their weights.
struct LinearWeights {
  struct Part {
    std::string module;  // has a "weight" (out, in), or (out, in, K) of a convolution
    float scale = 1.0f;  // of its weight and bias
  };
  std::vector<Part> parts;  // of equal shapes; the outputs of one come behind those of the other
  bool bias = true;         // whether each has a "bias"
  // The outputs are C values and their C gates, for forward_glu(). Each panel then holds half a
  // panel of values and their gates; where C is no multiple of half a panel, the rest of the last
  // one is zero.
  bool gated = false;
  std::int64_t panel_width = 64;
};

// y = x W^T + b. The weight lies in panels of `panel_width` outputs, each (in, panel_width): a
// product of some rows with one panel is a task of its own, and what follows the product (bias,
// activation, gate) is done while the task's result is in the cache. The rows' results do not
// depend on how many rows there are. In bfloat16 and float16 the products' inputs are rounded, in
// float16 with a scale for each row and each output; sums are float32, short ones float16 there.
// Where such products are slower than those of float32, only the weights are in that type
// (narrow_products.h). In int8 the weight has a scale for each output, and the sums are whole
// numbers. A convolution's row (in, K) is packed as (K, in): it multiplies K frames that lie behind
// each other.
//
// A weight stays in its source until pack(): each product lays the panel that it needs out in a
// thread's own memory and forgets it. One pass over a model in a file is faster so than with memory
// for all of it, which the kernel has to clear first.
class PackedLinear {
 public:
  PackedLinear() = default;
  // Reads the biases. `precision` is that of the weights, and of the inputs where they are not
  // widened. Throws CheckpointError for a weight that is not there.
  PackedLinear(const WeightScope& scope, LinearWeights weights, Precision precision);

  // Lays the weight out, once for all products that follow, and lets go of the source.
  void pack();
  // Bytes that it takes for that; 0 once it has been done.
  std::int64_t bytes_to_pack() const;

  // What its rows are in.
  Precision precision() const { return precision_; }
  std::int64_t in_features() const { return in_; }
  std::int64_t out_features() const { return out_; }
  std::int64_t panels() const { return (out_ + panel_width_ - 1) / panel_width_; }

  // Takes `rows` rows of x (.., in) from `first` on: y (rows, out) = x W^T + b. x has this
  // precision, and room for a granule of rows more.
  void forward(const PackedRows& x, std::int64_t first, std::int64_t rows, float* y) const;
  // y = swish(x W^T + b)
  void forward_swish(const PackedRows& x, std::int64_t first, std::int64_t rows, float* y) const;
  // y += x W^T + b
  void add_to(const PackedRows& x, std::int64_t first, std::int64_t rows, float* y) const;
  // y: one matrix (rows, panel_width) for each panel, `panel_stride` floats apart.
  void forward_panels(const PackedRows& x, std::int64_t first, std::int64_t rows, float* y,
                      std::int64_t panel_stride) const;
  // For gated weights: y (rows, columns) = values * sigmoid(gates).
  void forward_glu(const PackedRows& x, std::int64_t first, std::int64_t rows, float* y,
                   std::int64_t columns) const;

 private:
  // One task: a block of rows, one panel and its weights.
  struct Tile {
    std::int64_t row, rows, panel;
    const float* weights;
  };
  // Takes the sums of a tile with its biases to its place in y.
  using Epilogue = decltype(VectorKernels::add_bias);
  void multiply(const PackedRows& x, std::int64_t first, std::int64_t rows, float* y,
                Epilogue epilogue) const;
  template <class Function>
  void for_each_tile(std::int64_t rows, const Function& function) const;
  // Rows of the packed order, or biases with `width` 1, as float32 with all that is folded in.
  void read_rows(const char* name, std::int64_t width, std::int64_t first, std::int64_t count,
                 float* to) const;
  void read_plain_rows(const char* name, std::int64_t width, std::int64_t first, std::int64_t count,
                       float* to) const;
  void pack_panel(std::int64_t panel, float* to) const;
  float* product(const PackedRows& x, std::int64_t first, const Tile& tile) const;
  void multiply_block(const PackedRows& x, std::int64_t row, const Tile& tile, std::int64_t from,
                      std::int64_t count, float* sums) const;
  std::int64_t width_of(std::int64_t panel) const;
  const float* bias_of(std::int64_t panel) const;
  // Floats (or groups of narrower numbers) in a panel's weights, and in a whole panel.
  std::int64_t weights_size() const;
  std::int64_t panel_size() const;

  Precision precision_ = Precision::float32, weight_precision_ = Precision::float32;
  LinearWeights weights_;
  WeightScope scope_;  // until it is packed
  std::int64_t in_ = 0, out_ = 0, panel_width_ = 0;
  std::int64_t packed_in_ = 0;  // in, and zeros up to a whole group
  std::int64_t part_rows_ = 0, taps_ = 1;
  // Each panel (packed_in, panel_width), the inputs in groups of 1, 2 or 4 (tile_gemm.h). Behind
  // that float16 has for each output its scale; int8 also its sum of weights as int32.
  ScratchBuffer panels_;
  ScratchBuffer bias_;  // (panels, panel_width), or empty
};

}  // namespace w2vbert
