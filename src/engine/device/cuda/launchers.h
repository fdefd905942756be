// The device engine's own kernels, as functions of plain C++: pointers to device memory, and a
// stream. Nothing of CUDA is included here, so that any file may call them.
//
// Letters: R rows (the frames of all clips, one clip behind the other, without padding), C
// channels, K the depthwise kernel, H heads, D head size, W distances (left + 1 + right), I the
// feed-forward size. All matrices are dense, their last dimension innermost, and begin at multiples
// of 16 bytes. Activations are of one Element; sums, statistics and the softmax are float32 inside.
//
// A launcher returns at once: nullptr where the kernel has been launched, else what was wrong.
// `stream` is a cudaStream_t.
#pragma once

#include <cstdint>

#include "engine/device/cuda/row_tiles.h"

namespace w2vbert::cuda {

enum class Element { float32, bfloat16, float16 };

// Rows of a tile (make_row_tiles). Attention's is fixed. The convolution takes any: each tile also
// reads the K - 1 rows before it, so longer tiles read less and give a GPU fewer blocks.
inline constexpr std::int32_t kAttentionTileRows = 64;
inline constexpr std::int32_t kGatedConvTileRows = 64;

// The middle of the convolution module, from the output of pointwise_conv1 to the input of
// pointwise_conv2: GLU, the causal depthwise convolution (K - 1 zeros before each clip), LayerNorm
// over C, swish. HF: Wav2Vec2BertConvolutionModule.forward. There a mask zeroes padding before
// pointwise_conv1, which has no bias: x is zero in these rows already.
struct GatedConv {
  const void* x = nullptr;             // (R, 2C): the values, then their gates
  const void* weight = nullptr;        // (K, C), of x's type: HF's (C, 1, K), transposed
  const float* norm_weight = nullptr;  // (C)
  const float* norm_bias = nullptr;    // (C)
  float epsilon = 1e-5f;
  void* y = nullptr;               // (R, C)
  const RowTile* tiles = nullptr;  // on the device; any number of rows
  std::int32_t tile_count = 0;
  std::int32_t channels = 0;     // a multiple of 8, up to 8192
  std::int32_t kernel_size = 0;  // 1 to 64
};
const char* launch_gated_conv(const GatedConv& arguments, Element element, void* stream);

// softmax(scale (q.k + q.E[clamp(j - t, -left, right) + left])) v over the keys j of each clip.
// HF: Wav2Vec2BertSelfAttention.forward with position_embeddings_type relative_key, or without
// positions.
struct RelativeAttention {
  const void* qkv = nullptr;                 // (R, 3, H, D)
  const void* distance_embedding = nullptr;  // (W, D), or nullptr: no positions
  const std::uint8_t* valid =
      nullptr;                     // (R), 0 where a frame is padding, or nullptr: all are valid
  void* y = nullptr;               // (R, H, D)
  const RowTile* tiles = nullptr;  // on the device; of kAttentionTileRows rows
  std::int32_t tile_count = 0;
  std::int32_t heads = 0;
  std::int32_t head_size = 0;  // a multiple of 8, up to 128
  // D^-0.5, of the float32 scores: weights of a narrow type would round where it is not a power
  // of 2.
  float scale = 1.0f;
  std::int32_t left = 0;
  std::int32_t right = 0;
  // What a query without any key gives: zeros, as torch's scaled_dot_product_attention, or what a
  // softmax makes of it. A masked score is minus infinity with `sdpa` and without positions, and
  // else the lowest finite number: where all keys of a clip are masked, they all count alike.
  bool sdpa = true;
};
// What keeps the kernel from these sizes, or nullptr. Callers then use the plain operations.
const char* unsupported_attention(const RelativeAttention& arguments, Element element);
const char* launch_relative_attention(const RelativeAttention& arguments, Element element,
                                      void* stream);

// residual += scale * delta; y = LayerNorm(residual). Without delta (nullptr) the residual stays as
// it is, and is not written.
struct AddNorm {
  float* residual = nullptr;           // (R, C), read and written
  const void* delta = nullptr;         // (R, C), or nullptr
  float scale = 1.0f;                  // 0.5 for the half step of a feed-forward
  const float* norm_weight = nullptr;  // (C)
  const float* norm_bias = nullptr;    // (C)
  float epsilon = 1e-5f;
  void* y = nullptr;            // (R, C) of delta's type, or float32
  bool float32_output = false;  // y is float32, whatever delta is
  std::int64_t rows = 0;
  std::int32_t channels = 0;  // a multiple of 8, up to 8192
};
const char* launch_add_norm(const AddNorm& arguments, Element element, void* stream);

// y = swish(x + bias). y may be x.
struct BiasSwish {
  const void* x = nullptr;     // (R, I)
  const void* bias = nullptr;  // (I), of x's type, or nullptr
  void* y = nullptr;           // (R, I)
  std::int64_t rows = 0;
  std::int32_t channels = 0;  // I, a multiple of 8
};
const char* launch_bias_swish(const BiasSwish& arguments, Element element, void* stream);

// The launchers of one build of the kernels: for GPUs, or for the tests' emulator.
struct Launchers {
  const char* (*gated_conv)(const GatedConv& arguments, Element element, void* stream) = nullptr;
  const char* (*relative_attention)(const RelativeAttention& arguments, Element element,
                                    void* stream) = nullptr;
  const char* (*add_norm)(const AddNorm& arguments, Element element, void* stream) = nullptr;
  const char* (*bias_swish)(const BiasSwish& arguments, Element element, void* stream) = nullptr;
  // The cudaStream_t that LibTorch's operations of this thread run on. Absent: the default stream.
  void* (*current_stream)(std::int32_t device) = nullptr;
};

}  // namespace w2vbert::cuda
