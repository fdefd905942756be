// Self-attention over a ragged batch.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

#include "aligned_buffer.h"
#include "ragged_batch.h"

namespace w2vbert {

// softmax(q.k + q.e[clip(j - i)]) v for each clip and head, in blocks of queries and keys: no
// matrix of all queries by all keys is ever in memory. e[d] depends on a score's diagonal alone,
// and all diagonals beyond `left` and `right` share one: q.e is a narrow matrix (queries, left + 1
// + right), added to a band of the scores. (The idea of the online softmax: Milakov and Gimelshein
// 2018, Dao et al. 2022.)
class RaggedAttention {
 public:
  RaggedAttention() = default;
  // `distance_embedding` (left + 1 + right, D), or undefined: no positions.
  RaggedAttention(std::int64_t heads, std::int64_t head_size, const at::Tensor& distance_embedding,
                  std::int64_t left, std::int64_t right);

  // Room that calls share.
  struct Scratch {
    AlignedBuffer keys;  // (heads, key panels of the batch, D, kKeyPanel): transposed keys
  };

  // `qkv`: 3 x heads matrices (rows, D), `stride` floats apart: the queries (scaled by D^-0.5),
  // keys and values of each head. y (rows, heads x D).
  void forward(const RaggedBatch& batch, const float* qkv, std::int64_t stride, Scratch& scratch,
               float* y) const;

 private:
  std::int64_t heads_ = 0, head_size_ = 0, left_ = 0, right_ = 0;
  std::int64_t distances_ = 0;   // left + 1 + right, rounded up to whole vectors; 0: no positions
  AlignedBuffer distance_keys_;  // (D, distances_)
};

}  // namespace w2vbert
