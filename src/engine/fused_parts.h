// What the fused encoder and the fused adapter are built from.
#pragma once

#include <torch/nn/modules/normalization.h>

#include <cstdint>

#include "engine/kernels/packed_linear.h"
#include "engine/kernels/packed_rows.h"
#include "engine/row_blocks.h"
#include "engine/scratch_buffer.h"
#include "w2vbert/engine/fused_encoder.h"
#include "w2vbert/nn/self_attention.h"

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
  explicit PackedLayerNorm(const torch::nn::LayerNorm& module);

  // `rows` rows at x -> y, on the calling thread.
  void rows(const float* x, std::int64_t rows, float* y) const;
  // The same on all threads.
  void forward(const float* x, std::int64_t rows_of_x, float* y) const;
  // y: what a layer of that precision takes.
  void forward(const float* x, std::int64_t rows_of_x, c10::ScalarType precision,
               PackedRows& y) const;
};

// Where weights come from, and in what they are packed.
struct WeightPacker {
  const FusedEncoder::WeightReader& reader;  // or null
  c10::ScalarType precision;
  bool release_weights;

  // rows_of(weight), or the reader's.
  WeightRows rows(const at::Tensor& weight) const;
  PackedLinear pack(const at::Tensor& weight, const at::Tensor& bias, c10::ScalarType type,
                    float scale = 1.0f) const;
  // One panel for each head's queries, keys and values; the queries are scaled.
  PackedLinear pack_qkv(const Wav2Vec2BertSelfAttention& module, std::int64_t head_size,
                        c10::ScalarType type) const;
  // Frees what a parameter holds, if that is wanted.
  void release(const at::Tensor& parameter) const;

  // What the products of linear_out, of the convolution module and of the adapter are computed in:
  // in int8 they would make most of the error (docs/numerics.md).
  c10::ScalarType high_precision() const {
    return precision == c10::ScalarType::Char ? c10::ScalarType::Float : precision;
  }
};

}  // namespace w2vbert
