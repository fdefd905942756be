// Self-attention with relative_key positions over packed clips, without a matrix of all queries by
// all keys.
//
// A block has 64 queries of one clip and one head, and goes through the clip's keys in tiles with
// an online softmax (Milakov and Gimelshein 2018; in tiles and with matrix products:
// FlashAttention, Dao et al. 2022 and Dao 2023). A score's bias q.E[clamp(j - t, -left, right) +
// left] depends on its query and its diagonal alone. So the block computes q E^T of its queries
// once, (64, left + 1 + right), and keeps it in shared memory. Key tiles that lie wholly to the
// left or right of the diagonals that are told apart have one bias a query.
#include "engine/device/cuda/tensor_core.cuh"

namespace w2vbert::cuda {
namespace {

constexpr float kLog2E = 1.44269504088896340736f;
constexpr int kQueries = kAttentionTileRows;  // of a block
constexpr int kMaxHeadSize = 128;
constexpr std::size_t kMaxSharedBytes =
    99 << 10;  // what a block may have on every architecture from sm_80 on

// What both kernels take, with T's pointers.
template <class T>
struct Arguments {
  const T* qkv;                 // (R, 3, H, D)
  const T* distance_embedding;  // (W, D), or nullptr
  const std::uint8_t* valid;    // (R), or nullptr
  T* y;                         // (R, H, D)
  const RowTile* tiles;
  int heads, head_size, left, right;
  float scale;  // of scores, applied where the greatest is subtracted from them: that costs nothing
  float masked_score;  // minus infinity, or the lowest finite number
  bool sdpa;

  __device__ const T* row_of(int row, int which, int head) const {
    return qkv + ((static_cast<std::int64_t>(row) * 3 + which) * heads + head) * head_size;
  }
};

// Floats between two queries' rows of q E^T. Lanes of a warp read along diagonals: the rows of 8
// queries, 4 places in each. With 8 banks from a diagonal's place in one row to the next they take
// 2 turns, the least that is possible.
__host__ __device__ constexpr int distance_stride(int distances) {
  return distances + (41 - distances % 32) % 32;
}

// The place in E of key j for query t.
__device__ __forceinline__ int distance_of(int j, int t, int left, int right) {
  int distance = W2VBERT_BUG(attention_distance_mirrored) ? t - j : j - t;
  distance = max(distance, -left);
  return (W2VBERT_BUG(attention_clamps_one_side_only) ? distance : min(distance, right)) + left;
}

// ---- bfloat16 and float16: matrix products ------------------------------------------------------
constexpr int kKeys = 64;  // of a tile

// How a block's 64 queries are given to warps: each has kRows times the 16 rows of mma.m16n8k16. A
// warp reads all keys and values from shared memory, and uses what it has read for all its rows:
// two times 16 halve the reads, which bind before the products do. With heads of 128 there are no
// registers for that, and small heads are not the model's.
template <int kD>
struct Shape {
  static constexpr int kRows = kD == 64 ? 2 : 1;
  static constexpr int kWarpQueries = 16 * kRows;
  static constexpr int kWarps = kQueries / kWarpQueries;
  static constexpr int kThreads = kWarps * kLanes;
  // Blocks that a multiprocessor holds at once: what their registers leave room for.
  static constexpr int kBlocks = kD == 64 ? 4 : kD < 64 ? 3 : 2;
};

// A tile (64, kD) of T in shared memory, in chunks of 16 bytes. Eight rows' chunks of one column
// lie in different banks: ldmatrix reads them at once. Unsigned, so that the compiler knows that
// rows 16 apart move alike, and keeps one address for all of them.
template <class T, int kD>
__device__ __forceinline__ T* chunk_of(T* tile, unsigned row, unsigned chunk) {
  constexpr unsigned kChunks = kD / 8;
  const unsigned moved = kChunks >= 8 ? row % 8 : row / (8 / kChunks) % kChunks;
  return tile + row * kD + (chunk ^ moved) * 8;
}

// Begins to copy 64 rows of `size` elements, `stride` elements apart; zeros behind the first `rows`
// rows and behind each row. Zeros, because an unused key's value is multiplied by 0, and 0 times
// what is there may be no number.
template <class T, int kD>
__device__ __forceinline__ void copy_tile(T* tile, const T* from, std::int64_t stride, int rows,
                                          int size) {
  constexpr unsigned kChunks = kD / 8, kStep = Shape<kD>::kThreads / kChunks;
  unsigned row = threadIdx.x / kChunks;
  const unsigned chunk = threadIdx.x % kChunks;
  const bool inside = static_cast<int>(chunk * 8) < size;
  const T* row_from = from + row * stride + chunk * 8;
#pragma unroll
  for (unsigned i = 0; i < kKeys / kStep; ++i) {
    const bool zeros = !inside || static_cast<int>(row) >= rows;
    copy_async(chunk_of<T, kD>(tile, row, chunk), zeros ? from : row_from, zeros);
    row += kStep;
    row_from += kStep * stride;
  }
}

// scores (kRows * 16, 64) = the warp's queries by the tile's rows.
template <class T, int kD>
__device__ __forceinline__ void multiply_rows(
    float (&scores)[Shape<kD>::kRows][kKeys / 8][4],
    const unsigned (&queries)[Shape<kD>::kRows][kD / 16][4], T* tile) {
  constexpr int kRows = Shape<kD>::kRows;
  const unsigned lane = threadIdx.x % kLanes;
#pragma unroll
  for (int m = 0; m < kRows; ++m) {
#pragma unroll
    for (int n = 0; n < kKeys / 8; ++n) {
#pragma unroll
      for (int i = 0; i < 4; ++i) scores[m][n][i] = 0.0f;
    }
  }
#pragma unroll
  for (unsigned d = 0; d < kD / 16; ++d) {
#pragma unroll
    for (unsigned n = 0; n < kKeys / 16; ++n) {
      unsigned keys[4];  // two fragments, of 8 keys each
      load_matrices<false>(
          keys, chunk_of<T, kD>(tile, n * 16 + lane % 8 + (lane & 16) / 2, d * 2 + lane / 8 % 2));
#pragma unroll
      for (int m = 0; m < kRows; ++m) {
        multiply_add<T>(scores[m][2 * n], queries[m][d], {keys[0], keys[1]});
        multiply_add<T>(scores[m][2 * n + 1], queries[m][d], {keys[2], keys[3]});
      }
    }
  }
}

template <class T, int kD>
__global__ void __launch_bounds__(Shape<kD>::kThreads, Shape<kD>::kBlocks)
    relative_attention_kernel(const Arguments<T> arguments) {
  constexpr int kRows = Shape<kD>::kRows, kWarpQueries = Shape<kD>::kWarpQueries;
  const RowTile tile = arguments.tiles[blockIdx.x];
  const int head = static_cast<int>(blockIdx.y), head_size = arguments.head_size;
  const int thread = static_cast<int>(threadIdx.x), lane = thread % kLanes, warp = thread / kLanes;
  const std::int64_t stride = static_cast<std::int64_t>(3) * arguments.heads * head_size;
  const int left = arguments.left, right = arguments.right, distances = left + 1 + right;
  const bool positions = arguments.distance_embedding != nullptr;
  const float exponent_scale = arguments.scale * kLog2E;

  constexpr int kTile = kKeys * kD;
  T* keys = shared_memory<T>();  // (2, 64, kD): one tile is used while the next one comes
  T* values = keys + 2 * kTile;  // (2, 64, kD)
  auto* valid = reinterpret_cast<unsigned*>(values + 2 * kTile);         // (2, 64)
  float* distance_scores = reinterpret_cast<float*>(valid + 2 * kKeys);  // (64, row_stride): q E^T
  const int row_stride = distance_stride(distances);

  // The queries, by way of the first tile of values.
  unsigned queries[kRows][kD / 16][4];
  copy_tile<T, kD>(values, arguments.row_of(tile.first, 0, head), stride, tile.end - tile.first,
                   head_size);
  if (positions) {
    copy_tile<T, kD>(keys, arguments.distance_embedding, head_size, distances, head_size);
  }
  commit_copies();
  wait_for_copies();
  __syncthreads();
#pragma unroll
  for (unsigned m = 0; m < kRows; ++m) {
#pragma unroll
    for (unsigned d = 0; d < kD / 16; ++d) {
      const unsigned row = threadIdx.x / kLanes * kWarpQueries + m * 16 + threadIdx.x % 16;
      load_matrices<false>(queries[m][d],
                           chunk_of<T, kD>(values, row, d * 2 + threadIdx.x % kLanes / 16));
    }
  }

  // What this lane has of each (16, 8) product: two rows, eight apart, and two columns.
  const int own_row = warp * kWarpQueries + lane / 4, own_column = 2 * (lane % 4);

  float scores[kRows][kKeys / 8][4];
  if (positions) {
    for (int first = 0; first < distances; first += kKeys) {
      if (first > 0) {
        __syncthreads();  // all warps have multiplied the tile before
        copy_tile<T, kD>(keys, arguments.distance_embedding + first * head_size, head_size,
                         distances - first, head_size);
        commit_copies();
        wait_for_copies();
        __syncthreads();
      }
      multiply_rows<T, kD>(scores, queries, keys);
#pragma unroll
      for (int m = 0; m < kRows; ++m) {
#pragma unroll
        for (int n = 0; n < kKeys / 8; ++n) {
#pragma unroll
          for (int i = 0; i < 4; ++i) {
            const int row = own_row + m * 16 + i / 2 * 8,
                      column = first + n * 8 + own_column + i % 2;
            if (column < distances) distance_scores[row * row_stride + column] = scores[m][n][i];
          }
        }
      }
    }
    __syncwarp();  // a warp reads the rows that it wrote itself
  }
  // All warps have read the queries and E, over which the first keys and values are copied.
  if (!W2VBERT_BUG(attention_misses_the_barrier_after_distances)) __syncthreads();

  const int tiles = (tile.clip_end - tile.clip_begin + kKeys - 1) / kKeys;
  const auto begin_tile = [&](int step) {
    const int first = tile.clip_begin + step * kKeys, stage = step % 2;
    const int rows = W2VBERT_BUG(attention_keys_of_the_next_clip) ? kKeys : tile.clip_end - first;
    copy_tile<T, kD>(keys + stage * kTile, arguments.row_of(first, 1, head), stride, rows,
                     head_size);
    if (!W2VBERT_BUG(attention_uninitialised_values) || rows >= kKeys) {
      copy_tile<T, kD>(values + stage * kTile, arguments.row_of(first, 2, head), stride, rows,
                       head_size);
    }
    commit_copies();
    if (arguments.valid != nullptr && thread < kKeys) {
      valid[stage * kKeys + thread] = thread < rows ? arguments.valid[first + thread] : 0u;
    }
  };

  float sums[kRows][2];  // of the exponentials: this lane's columns
  float most[kRows][2];  // of the scores so far: the whole row's
  float output[kRows][kD / 8][4];
#pragma unroll
  for (int m = 0; m < kRows; ++m) {
#pragma unroll
    for (int r = 0; r < 2; ++r) {
      sums[m][r] = 0.0f;
      most[m][r] = -infinity();
    }
#pragma unroll
    for (int n = 0; n < kD / 8; ++n) {
#pragma unroll
      for (int i = 0; i < 4; ++i) output[m][n][i] = 0.0f;
    }
  }

  begin_tile(0);
  const int used_tiles = W2VBERT_BUG(attention_misses_last_keys) && tiles > 1 ? tiles - 1 : tiles;
  for (int step = 0; step < used_tiles; ++step) {
    const int stage = step % 2, key_first = tile.clip_begin + step * kKeys;
    if (!W2VBERT_BUG(attention_misses_the_wait)) wait_for_copies();
    // The tile is there for all, and all are done with the other one, over which the next is
    // copied.
    if (!W2VBERT_BUG(attention_misses_the_barrier_before_loading)) __syncthreads();
    if (step + 1 < used_tiles) begin_tile(step + 1);

    multiply_rows<T, kD>(scores, queries, keys + stage * kTile);

    if (positions) {
      const int warp_first = tile.first + warp * kWarpQueries, key_last = key_first + kKeys - 1;
      const bool all_left = key_last - warp_first <= -left;
      const bool all_right = key_first - (warp_first + kWarpQueries - 1) >= right;
      const bool first_column =
          W2VBERT_BUG(attention_tail_of_the_wrong_side) ? all_right : all_left;
#pragma unroll
      for (int m = 0; m < kRows; ++m) {
        const int row = own_row + m * 16;
        if (all_left || all_right) {
          const float* column = distance_scores + (first_column ? 0 : distances - 1);
          const float bias[2] = {column[row * row_stride], column[(row + 8) * row_stride]};
#pragma unroll
          for (int n = 0; n < kKeys / 8; ++n) {
#pragma unroll
            for (int i = 0; i < 4; ++i) scores[m][n][i] += bias[i / 2];
          }
        } else {
#pragma unroll
          for (int n = 0; n < kKeys / 8; ++n) {
#pragma unroll
            for (int i = 0; i < 4; ++i) {
              const int query = row + i / 2 * 8, key = key_first + n * 8 + own_column + i % 2;
              const int distance = distance_of(key, tile.first + query, left, right);
              scores[m][n][i] += distance_scores[query * row_stride + distance];
            }
          }
        }
      }
    }
    if (arguments.valid != nullptr && !W2VBERT_BUG(attention_forgets_the_mask)) {
      const float masked =
          W2VBERT_BUG(attention_masks_with_infinity) ? -infinity() : arguments.masked_score;
#pragma unroll
      for (int n = 0; n < kKeys / 8; ++n) {
#pragma unroll
        for (int i = 0; i < 2; ++i) {
          if (valid[stage * kKeys + n * 8 + own_column + i] == 0) {
#pragma unroll
            for (int m = 0; m < kRows; ++m) scores[m][n][i] = scores[m][n][i + 2] = masked;
          }
        }
      }
    }
    if (key_first + kKeys > tile.clip_end && !W2VBERT_BUG(attention_keys_of_the_next_clip)) {
#pragma unroll
      for (int n = 0; n < kKeys / 8; ++n) {
#pragma unroll
        for (int i = 0; i < 2; ++i) {
          if (key_first + n * 8 + own_column + i >= tile.clip_end) {
#pragma unroll
            for (int m = 0; m < kRows; ++m) scores[m][n][i] = scores[m][n][i + 2] = -infinity();
          }
        }
      }
    }

    // Each row is in four lanes.
#pragma unroll
    for (int m = 0; m < kRows; ++m) {
#pragma unroll
      for (int r = 0; r < 2; ++r) {
        float now = most[m][r];
#pragma unroll
        for (int n = 0; n < kKeys / 8; ++n) {
          now = fmaxf(now, fmaxf(scores[m][n][2 * r], scores[m][n][2 * r + 1]));
        }
        now = fmaxf(now, __shfl_xor_sync(kAllLanes, now, 1));
        now = fmaxf(now, __shfl_xor_sync(kAllLanes, now, 2));
        // While all scores are minus infinity their exponentials are 0, and not e^(-inf + inf).
        const float from = now == -infinity() ? 0.0f : now;
        const float rescale = W2VBERT_BUG(attention_misses_rescale)
                                  ? 1.0f
                                  : power_of_two((most[m][r] - from) * exponent_scale);
        most[m][r] = now;
        sums[m][r] *= rescale;
#pragma unroll
        for (int n = 0; n < kKeys / 8; ++n) {
#pragma unroll
          for (int i = 2 * r; i < 2 * r + 2; ++i) {
            // The difference first: the lowest finite score times log2(e) is not finite.
            scores[m][n][i] = power_of_two((scores[m][n][i] - from) * exponent_scale);
            sums[m][r] += scores[m][n][i];
          }
        }
#pragma unroll
        for (int n = 0; n < kD / 8; ++n) {
          output[m][n][2 * r] *= rescale;
          output[m][n][2 * r + 1] *= rescale;
        }
      }
    }

    // The scores lie in the lanes as the first factor of the next product has to: no way through
    // shared memory.
#pragma unroll
    for (unsigned k = 0; k < kKeys / 16; ++k) {
      unsigned weights[kRows][4];
#pragma unroll
      for (int m = 0; m < kRows; ++m) {
        const auto& low = scores[m][2 * k];
        const auto& high = scores[m][2 * k + 1];
        weights[m][0] = pack2<T>(low[0], low[1]);
        weights[m][1] = pack2<T>(low[2], low[3]);
        weights[m][2] = pack2<T>(high[0], high[1]);
        weights[m][3] = pack2<T>(high[2], high[3]);
      }
#pragma unroll
      for (unsigned n = 0; n < kD / 16; ++n) {
        unsigned columns[4];
        load_matrices<true>(columns,
                            chunk_of<T, kD>(values + stage * kTile, k * 16 + threadIdx.x % 16,
                                            n * 2 + threadIdx.x % kLanes / 16));
#pragma unroll
        for (int m = 0; m < kRows; ++m) {
          multiply_add<T>(output[m][2 * n], weights[m], {columns[0], columns[1]});
          multiply_add<T>(output[m][2 * n + 1], weights[m], {columns[2], columns[3]});
        }
      }
    }
  }

#pragma unroll
  for (int m = 0; m < kRows; ++m) {
#pragma unroll
    for (int r = 0; r < 2; ++r) {
      float sum = sums[m][r];
      sum += __shfl_xor_sync(kAllLanes, sum, 1);
      sum += __shfl_xor_sync(kAllLanes, sum, 2);
      const bool none = arguments.sdpa && sum == 0.0f;  // the greatest score alone gives 1
      const float scale = __fdividef(1.0f, sum);
      const int row = tile.first + own_row + m * 16 + r * 8;
      if (row < tile.end || W2VBERT_BUG(attention_stores_rows_of_the_next_clip)) {
        T* y = arguments.y + (static_cast<std::int64_t>(row) * arguments.heads + head) * head_size;
#pragma unroll
        for (int n = 0; n < kD / 8; ++n) {
          if (n * 8 < head_size) {
            const float2 pair =
                make_float2(output[m][n][2 * r] * scale, output[m][n][2 * r + 1] * scale);
            store_pair(y + n * 8 + own_column, none ? make_float2(0.0f, 0.0f) : pair);
          }
        }
      }
    }
  }
}

template <class T, int kD>
std::size_t shared_bytes_of(int distances) {
  return 4 * kKeys * kD * sizeof(T) + 2 * kKeys * sizeof(unsigned) +
         kQueries * sizeof(float) *
             static_cast<std::size_t>(distances > 0 ? distance_stride(distances) : 0);
}

// ---- float32: plain products --------------------------------------------------------------------
constexpr int kPlainWarps = 16;
constexpr int kPlainThreads = kPlainWarps * kLanes;
constexpr int kPlainKeys = kLanes;  // of a tile: one a lane
constexpr int kPlainQueries = kQueries / kPlainWarps;

// Floats between two keys: 16 bytes more than the head, so eight lanes' vectors of a column lie in
// different banks.
__host__ __device__ constexpr int key_stride(int head_size) { return head_size + 4; }

// A warp has four queries. For the scores a lane has a key, for the output the columns lane, lane +
// 32, ...
template <int kColumns>
__global__ void __launch_bounds__(kPlainThreads, 1)
    plain_attention_kernel(const Arguments<float> arguments) {
  const RowTile tile = arguments.tiles[blockIdx.x];
  const int head = static_cast<int>(blockIdx.y), head_size = arguments.head_size;
  const int thread = static_cast<int>(threadIdx.x), lane = thread % kLanes, warp = thread / kLanes;
  const int left = arguments.left, right = arguments.right, distances = left + 1 + right;
  const bool positions = arguments.distance_embedding != nullptr;
  const int stride = key_stride(head_size), row_stride = distance_stride(distances);

  float* queries = shared_memory<float>();                   // (64, head_size)
  float* keys = queries + kQueries * head_size;              // (32, stride)
  float* values = keys + kPlainKeys * stride;                // (32, head_size)
  float* distance_scores = values + kPlainKeys * head_size;  // (64, row_stride)

  const int vectors = head_size / 4;
  for (int i = thread; i < kQueries * vectors; i += kPlainThreads) {
    const int row = tile.first + i / vectors, d = i % vectors * 4;
    uint4 four = make_uint4(0, 0, 0, 0);
    if (row < tile.end) four = load16(arguments.row_of(row, 0, head) + d);
    store16(queries + i / vectors * head_size + d, four);
  }
  __syncthreads();
  if (positions) {
    for (int i = thread; i < kQueries * distances; i += kPlainThreads) {
      const int row = i / distances, place = i % distances;
      float score = 0.0f;
      for (int d = 0; d < head_size; ++d) {
        score += queries[row * head_size + d] * arguments.distance_embedding[place * head_size + d];
      }
      distance_scores[row * row_stride + place] = score;
    }
  }

  float most[kPlainQueries], sums[kPlainQueries], output[kPlainQueries][kColumns];
#pragma unroll
  for (int q = 0; q < kPlainQueries; ++q) {
    most[q] = -infinity();
    sums[q] = 0.0f;
#pragma unroll
    for (int c = 0; c < kColumns; ++c) output[q][c] = 0.0f;
  }
  for (int first = tile.clip_begin; first < tile.clip_end; first += kPlainKeys) {
    __syncthreads();  // all are done with the keys before, and q E^T is there
    for (int i = thread; i < kPlainKeys * vectors; i += kPlainThreads) {
      const int key = i / vectors, d = i % vectors * 4;
      uint4 k = make_uint4(0, 0, 0, 0), v = k;
      if (first + key < tile.clip_end) {
        k = load16(arguments.row_of(first + key, 1, head) + d);
        v = load16(arguments.row_of(first + key, 2, head) + d);
      }
      store16(keys + key * stride + d, k);
      store16(values + key * head_size + d, v);
    }
    __syncthreads();

    float scores[kPlainQueries] = {};
    for (int d = 0; d < head_size; d += 4) {
      const uint4 k = load16(keys + lane * stride + d);
#pragma unroll
      for (int q = 0; q < kPlainQueries; ++q) {
        const uint4 w = load16(queries + (warp * kPlainQueries + q) * head_size + d);
        scores[q] += __uint_as_float(k.x) * __uint_as_float(w.x) +
                     __uint_as_float(k.y) * __uint_as_float(w.y) +
                     __uint_as_float(k.z) * __uint_as_float(w.z) +
                     __uint_as_float(k.w) * __uint_as_float(w.w);
      }
    }
    const int key = first + lane;
    const bool masked =
        arguments.valid != nullptr && key < tile.clip_end && arguments.valid[key] == 0;
#pragma unroll
    for (int q = 0; q < kPlainQueries; ++q) {
      const int row = warp * kPlainQueries + q;
      if (positions) {
        scores[q] +=
            distance_scores[row * row_stride + distance_of(key, tile.first + row, left, right)];
      }
      if (masked) scores[q] = arguments.masked_score;
      if (key >= tile.clip_end) scores[q] = -infinity();
      float now = scores[q];
#pragma unroll
      for (int lanes = kLanes / 2; lanes > 0; lanes /= 2) {
        now = fmaxf(now, __shfl_xor_sync(kAllLanes, now, lanes));
      }
      now = fmaxf(now, most[q]);
      const float from = now == -infinity() ? 0.0f : now;
      const float rescale = expf((most[q] - from) * arguments.scale);
      most[q] = now;
      scores[q] = expf((scores[q] - from) * arguments.scale);
      sums[q] = sums[q] * rescale + scores[q];
#pragma unroll
      for (int c = 0; c < kColumns; ++c) output[q][c] *= rescale;
    }
    for (int j = 0; j < kPlainKeys; ++j) {
      float v[kColumns];
#pragma unroll
      for (int c = 0; c < kColumns; ++c) {
        v[c] = c * kLanes + lane < head_size ? values[j * head_size + c * kLanes + lane] : 0.0f;
      }
#pragma unroll
      for (int q = 0; q < kPlainQueries; ++q) {
        const float weight = __shfl_sync(kAllLanes, scores[q], j);
#pragma unroll
        for (int c = 0; c < kColumns; ++c) output[q][c] += weight * v[c];
      }
    }
  }
#pragma unroll
  for (int q = 0; q < kPlainQueries; ++q) {
    const float sum = warp_sum(sums[q]), scale = __fdividef(1.0f, sum);
    const bool none = arguments.sdpa && sum == 0.0f;
    const int row = tile.first + warp * kPlainQueries + q;
    if (row < tile.end) {
      float* y =
          arguments.y + (static_cast<std::int64_t>(row) * arguments.heads + head) * head_size;
#pragma unroll
      for (int c = 0; c < kColumns; ++c) {
        if (c * kLanes + lane < head_size)
          y[c * kLanes + lane] = none ? 0.0f : output[q][c] * scale;
      }
    }
  }
}

std::size_t plain_shared_bytes(int head_size, int distances) {
  const int floats = kQueries * head_size + kPlainKeys * (key_stride(head_size) + head_size) +
                     (distances > 0 ? kQueries * distance_stride(distances) : 0);
  return static_cast<std::size_t>(floats) * sizeof(float);
}

// visit(constant) with the head size that the kernel is compiled for.
template <class Visit>
auto for_head_size(int head_size, const Visit& visit) {
  if (head_size <= 16) return visit(std::integral_constant<int, 16>());
  if (head_size <= 32) return visit(std::integral_constant<int, 32>());
  if (head_size <= 64) return visit(std::integral_constant<int, 64>());
  return visit(std::integral_constant<int, kMaxHeadSize>());
}

std::size_t shared_bytes_for(const RelativeAttention& arguments, Element element) {
  const int distances =
      arguments.distance_embedding == nullptr ? 0 : arguments.left + 1 + arguments.right;
  if (element == Element::float32) return plain_shared_bytes(arguments.head_size, distances);
  return for_head_size(arguments.head_size, [&](auto size) {
    return shared_bytes_of<__nv_bfloat16, decltype(size)::value>(distances);
  });
}

}  // namespace

const char* unsupported_attention(const RelativeAttention& arguments, Element element) {
  if (arguments.head_size <= 0 || arguments.head_size % 8 != 0 ||
      arguments.head_size > kMaxHeadSize) {
    return "relative_attention: a head size that is not a multiple of 8 up to 128";
  }
  constexpr std::int32_t kMaxDistance = 1 << 16;  // keeps the sums below within an int
  if (arguments.left < 0 || arguments.right < 0 || arguments.left > kMaxDistance ||
      arguments.right > kMaxDistance || shared_bytes_for(arguments, element) > kMaxSharedBytes) {
    return "relative_attention: more distances than shared memory has room for";
  }
  if (arguments.heads <= 0 || arguments.heads > 65535)
    return "relative_attention: not 1 to 65,535 heads";
  return nullptr;
}

const char* launch_relative_attention(const RelativeAttention& arguments, Element element,
                                      void* stream) {
  if (const char* reason = unsupported_attention(arguments, element)) return reason;
  if (arguments.tile_count == 0) return nullptr;
  const dim3 grid{static_cast<unsigned>(arguments.tile_count),
                  static_cast<unsigned>(arguments.heads), 1};
  const std::size_t shared_bytes = shared_bytes_for(arguments, element);
  return for_element(element, [&](auto zero) {
    using T = decltype(zero);
    const bool finite = arguments.distance_embedding != nullptr || !arguments.sdpa;
    const Arguments<T> typed{static_cast<const T*>(arguments.qkv),
                             static_cast<const T*>(arguments.distance_embedding),
                             arguments.valid,
                             static_cast<T*>(arguments.y),
                             arguments.tiles,
                             arguments.heads,
                             arguments.head_size,
                             arguments.left,
                             arguments.right,
                             arguments.scale,
                             finite ? kLowest : -std::numeric_limits<float>::infinity(),
                             arguments.sdpa};
    return for_head_size(arguments.head_size, [&](auto size) {
      constexpr int kD = decltype(size)::value;
      if constexpr (std::is_same_v<T, float>) {
        return launch(plain_attention_kernel<(kD + kLanes - 1) / kLanes>, grid, kPlainThreads,
                      shared_bytes, stream, typed);
      } else {
        return launch(relative_attention_kernel<T, kD>, grid, Shape<kD>::kThreads, shared_bytes,
                      stream, typed);
      }
    });
  });
}

}  // namespace w2vbert::cuda
