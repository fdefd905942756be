// What the fused encoder and the fused adapter are built from.
#pragma once

#include <cstdint>
#include <vector>

#include "engine/kernels/narrow_products.h"
#include "engine/kernels/packed_linear.h"
#include "engine/kernels/packed_rows.h"
#include "engine/row_blocks.h"
#include "engine/scratch_buffer.h"
#include "engine/weight_scope.h"
#include "w2vbert/engine/precision.h"

namespace w2vbert {

// A matrix (rows, width) with room for a granule of rows more, as the products' inputs need it.
inline float* reserve_rows(ScratchBuffer& buffer, std::int64_t rows, std::int64_t width) {
  return buffer.reserve((rows + kRowGranule) * width);
}

struct PackedLayerNorm {
  ScratchBuffer weight, bias;
  std::int64_t width = 0;
  float eps = 0;

  PackedLayerNorm() = default;
  PackedLayerNorm(const WeightScope& weights, double epsilon);

  // `rows` rows at x -> y, on the calling thread.
  void rows(const float* x, std::int64_t rows, float* y) const;
  // The same on all threads.
  void forward(const float* x, std::int64_t rows_of_x, float* y) const;
  // y: what a layer of that precision takes.
  void forward(const float* x, std::int64_t rows_of_x, Precision precision, PackedRows& y) const;
};

// What a linear map's products are computed in.
enum class PrecisionClass {
  normal,          // the precision that the engine was asked for
  high_precision,  // precision_beside_int8() where that is int8, which would make most of the error
                   // (docs/numerics.md)
};

// One of the linear maps of a layer: each kind of layer has one list of them.
template <class Layer>
struct LinearMap {
  PackedLinear Layer::*linear;
  PrecisionClass precision_class;
  LinearWeights weights;
};

inline Precision precision_for(PrecisionClass precision_class, Precision asked) {
  const bool high = precision_class == PrecisionClass::high_precision;
  return high && asked == Precision::int8 ? precision_beside_int8() : asked;
}

template <class Layer>
void read_linear_maps(const std::vector<LinearMap<Layer>>& maps, const WeightScope& weights,
                      Precision asked, Layer& layer) {
  for (const LinearMap<Layer>& map : maps) {
    layer.*map.linear =
        PackedLinear(weights, map.weights, precision_for(map.precision_class, asked));
  }
}

template <class Layer>
void pack_linear_maps(const std::vector<LinearMap<Layer>>& maps, Layer& layer) {
  for (const LinearMap<Layer>& map : maps) (layer.*map.linear).pack();
}

// linear_q, linear_k and linear_v of a self-attention: a panel for each head's queries, keys and
// values; the queries are scaled by D^-0.5.
LinearWeights qkv_weights(std::int64_t head_size);

}  // namespace w2vbert
