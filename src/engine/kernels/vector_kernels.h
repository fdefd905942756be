// The engine's loops over vectors, compiled once for each instruction set (CMakeLists.txt) and
// chosen when the program runs. Plain pointers: rows are contiguous, `ld` floats apart.
#pragma once

#include <c10/util/BFloat16.h>
#include <c10/util/Half.h>

#include <cstdint>

namespace w2vbert {

// Rows of bfloat16, float16 and int8 are so many elements long, or a multiple; zero behind their
// width.
inline constexpr std::int64_t kNarrowGranule = 64;

// Weights of the depthwise convolution are kept in chunks of so many channels, (C / chunk, K,
// chunk), so that one chunk's taps lie side by side.
inline constexpr std::int64_t kDepthwiseChunk = 16;

// The scores of a block of queries against a block of keys of one clip and head, and what the
// softmax over all blocks so far knows about each query.
struct ScoreBlock {
  float* scores;  // (rows, ld): q.k; afterwards exp(score - row_max), zero up to `padded_columns`
  std::int64_t rows;
  std::int64_t columns;
  std::int64_t padded_columns;
  std::int64_t ld;
  const float* relative;  // (rows, ld_relative): q.e for each distance; null: no positions
  std::int64_t ld_relative;
  std::int64_t distance;  // of column 0 from row 0: key - query
  std::int64_t left, right;
  const float* key_bias;  // (columns), added to each row; null: every key is valid
  bool first;             // of its row of blocks: row_max, row_sum and output hold nothing yet
  float* row_max;         // (rows)
  float* row_sum;         // (rows)
  float* output;          // (rows, output_width): scaled down where row_max has grown
  std::int64_t output_width;
};

struct VectorKernels {
  const char* name;

  // y = (x - mean) / sqrt(var + eps) * weight + bias, for each row; y may be x.
  void (*layer_norm)(const float* x, std::int64_t rows, std::int64_t width, const float* weight,
                     const float* bias, float eps, float* y);
  // y = x + bias, y = swish(x + bias), y += x + bias; bias (columns), or null for no bias.
  void (*add_bias)(const float* x, const float* bias, std::int64_t rows, std::int64_t columns,
                   std::int64_t ld_x, float* y, std::int64_t ld_y);
  void (*add_bias_swish)(const float* x, const float* bias, std::int64_t rows, std::int64_t columns,
                         std::int64_t ld_x, float* y, std::int64_t ld_y);
  void (*add_bias_residual)(const float* x, const float* bias, std::int64_t rows,
                            std::int64_t columns, std::int64_t ld_x, float* y, std::int64_t ld_y);
  // x *= sigmoid(x)
  void (*swish)(float* x, std::int64_t count);
  // y (rows, columns) = x * sigmoid(gates); the gates lie `gates` columns behind x in its rows.
  void (*glu)(const float* x, std::int64_t gates, std::int64_t rows, std::int64_t columns,
              std::int64_t ld_x, float* y, std::int64_t ld_y);
  // Rows [first, first + rows) of the causal depthwise convolution of a clip that begins at x:
  // y[t][c] = sum over k of weight[k][c] * x[t - (K - 1) + k][c], zero before the clip.
  void (*depthwise)(const float* x, std::int64_t first, std::int64_t rows, std::int64_t channels,
                    const float* chunked_weight, std::int64_t kernel_size, float* y);
  // (rows, columns) -> (columns, ld_y), zero in columns `rows` to ld_y.
  void (*transpose)(const float* x, std::int64_t rows, std::int64_t columns, std::int64_t ld_x,
                    float* y, std::int64_t ld_y);
  void (*softmax_block)(const ScoreBlock& block);
  // y[i] = x[i] * factor
  void (*scale)(const float* x, std::int64_t count, float factor, float* y);
  // y (ld) = x (width), rounded to nearest; zero behind it.
  void (*to_bfloat16)(const float* x, std::int64_t width, std::int64_t ld, c10::BFloat16* y);
  // (rows, width) -> (padded_rows / 2, width, 2), rounded to nearest; zero behind the last row.
  void (*pair_rows)(const float* x, std::int64_t rows, std::int64_t width, std::int64_t padded_rows,
                    c10::BFloat16* y);
  // The same in float16, of x * factor.
  void (*to_float16)(const float* x, std::int64_t width, std::int64_t ld, float factor,
                     c10::Half* y);
  void (*pair_rows_float16)(const float* x, std::int64_t rows, std::int64_t width,
                            std::int64_t padded_rows, float factor, c10::Half* y);
  // The largest size among the finite values, or 0.
  float (*largest_finite)(const float* x, std::int64_t count);
  // (rows / 2, columns, 2) -> (rows, columns), exactly; of float16 times the column's scale.
  void (*widen_bfloat16)(const c10::BFloat16* x, std::int64_t rows, std::int64_t columns, float* y);
  void (*widen_float16)(const c10::Half* x, std::int64_t rows, std::int64_t columns,
                        const float* column_scale, float* y);
  // In place: sums * (row_scale * column_scale), rounded once.
  void (*scale_sums)(float* sums, std::int64_t rows, std::int64_t columns, std::int64_t ld,
                     const float* row_scale, const float* column_scale);
  // x = (y - zero) * scale for the bytes y (ld), which span x's values and 0; NaN makes the scale
  // NaN.
  void (*quantize)(const float* x, std::int64_t width, std::int64_t ld, std::uint8_t* y,
                   float* scale, std::int32_t* zero);
  // x = y * scale for the whole numbers y (ld) from -127 to 127; zero behind x's width. NaN makes
  // the scale NaN. `sum`: that of y.
  void (*quantize_weight)(const float* x, std::int64_t width, std::int64_t ld, std::int8_t* y,
                          float* scale, std::int32_t* sum);
  // In place, from int32 sums over bytes to float32:
  // (sum - row_zero * column_sum) * (row_scale * column_scale).
  void (*dequantize)(float* sums, std::int64_t rows, std::int64_t columns, std::int64_t ld,
                     const float* row_scale, const std::int32_t* row_zero,
                     const float* column_scale, const std::int32_t* column_sum);
  // C (+)= A B, for machines on which oneDNN has no kernel: each element sums over k in order.
  void (*gemm)(std::int64_t m, std::int64_t n, std::int64_t k, const float* a, std::int64_t lda,
               const float* b, std::int64_t ldb, float* c, std::int64_t ldc, bool accumulate);
};

// Those of the best instruction set that LibTorch itself uses here (ATEN_CPU_CAPABILITY overrides).
const VectorKernels& vector_kernels();

}  // namespace w2vbert
