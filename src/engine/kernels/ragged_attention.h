// Self-attention over a ragged batch.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

#include "engine/ragged_batch.h"
#include "engine/scratch_buffer.h"
#include "w2vbert/engine/precision.h"

namespace w2vbert {

// softmax(q.k + q.e[clip(j - i)]) v for each clip and head, in blocks of queries and keys: no
// matrix of all queries by all keys is ever in memory. e[d] depends on a score's diagonal alone,
// and all diagonals beyond `left` and `right` share one: q.e is a narrow matrix (queries, left + 1
// + right), added to a band of the scores. (The idea of the online softmax: Milakov and Gimelshein
// 2018, Dao et al. 2022.) In bfloat16 and float16 the products' inputs are rounded: q, k, e, v and
// the exponentials; scores, softmax and sums are float32, short sums float16 there. What is beyond
// float16 is scaled by powers of two, for each clip and head.
class RaggedAttention {
 public:
  RaggedAttention() = default;
  // `distance_embedding` (left + 1 + right, D), or undefined: no positions. `precision` is
  // float32, bfloat16 or float16. `sdpa`: a query that has no key gets zeros, as from LibTorch's
  // scaled_dot_product_attention; else what a softmax makes of it. A query has no key where all its
  // scores are minus infinity, and without positions where no frame is valid: with them a mask is
  // the lowest finite number, and all keys count alike.
  RaggedAttention(std::int64_t heads, std::int64_t head_size, const at::Tensor& distance_embedding,
                  std::int64_t left, std::int64_t right, Precision precision, bool sdpa);

  // What attention is computed in where the layers' products are in `precision`.
  static Precision precision_for(Precision precision);

  // Room that calls share.
  struct Scratch {
    ScratchBuffer keys;    // of each head, in panels of kKeyPanel keys: (D, kKeyPanel)
    ScratchBuffer values;  // of each head: (keys, D), zero behind a clip's last
  };

  // `qkv`: 3 x heads matrices (rows, D), `stride` floats apart: the queries (scaled by D^-0.5),
  // keys and values of each head. y (rows, heads x D).
  void forward(const RaggedBatch& batch, const float* qkv, std::int64_t stride, Scratch& scratch,
               float* y) const;

  // Bytes that forward() takes: by which the scratch grows, and the tables of all threads.
  std::int64_t growth(const RaggedBatch& batch, const Scratch& scratch) const;

 private:
  // Floats of the scratch, and of one thread's scores and rounded rows.
  struct Sizes {
    std::int64_t keys, values, scores, rounded;
  };
  template <class Element>
  Sizes sizes_for(const RaggedBatch& batch) const;
  template <class Element>
  void pack_distances(const at::Tensor& distance_embedding);
  template <class Element>
  void forward_in(const RaggedBatch& batch, const float* qkv, std::int64_t stride, Scratch& scratch,
                  float* y) const;

  std::int64_t heads_ = 0, head_size_ = 0, left_ = 0, right_ = 0;
  Precision precision_ = Precision::float32;
  bool sdpa_ = false;
  std::int64_t distances_ = 0;   // left + 1 + right, rounded up to whole vectors; 0: no positions
  ScratchBuffer distance_keys_;  // (D, distances_), times distance_factor_
  float distance_factor_ = 1.0f;
};

}  // namespace w2vbert
