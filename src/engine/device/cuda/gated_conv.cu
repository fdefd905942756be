// The middle of the convolution module in one pass over x: GLU, causal depthwise convolution,
// LayerNorm, swish.
//
// With separate operations each of the four reads and writes (R, C). Here x is read once (and the K
// - 1 rows before a tile once more), and y is written once.
#include "engine/device/cuda/device.cuh"

namespace w2vbert::cuda {
namespace {

// GLU of one channel; the gate's NaN reaches the result.
template <class T>
__device__ __forceinline__ float gated(float value, float gate) {
  if (W2VBERT_BUG(conv_gate_halves_swapped)) return gate * sigmoid_of<T>(value);
  return value * sigmoid_of<T>(gate);
}

// ---- The kernel size of the model ---------------------------------------------------------------
constexpr int kKernelSize =
    31;  // conv_depthwise_kernel_size of w2v-BERT 2.0, known when this is compiled
constexpr int kPast = kKernelSize - 1;
constexpr int kGroup = 8;  // rows that are computed together
constexpr int kMaxThreads = 512;
constexpr int kMaxWarps = kMaxThreads / kLanes;
constexpr int kWarpChannels = 2 * kLanes;

// Eight sums over a warp at once: lane l has the sum of values[l / 4]. Each step halves the number
// of values that a lane keeps and doubles the lanes that they are of, so 9 shuffles do what 40
// would one sum at a time.
__device__ __forceinline__ float warp_sums(const float (&values)[kGroup], int lane) {
  float four[4], two[2];
  const bool upper16 = (lane & 16) != 0, upper8 = (lane & 8) != 0, upper4 = (lane & 4) != 0;
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    const float kept = upper16 ? values[i + 4] : values[i],
                given = upper16 ? values[i] : values[i + 4];
    four[i] = kept + __shfl_xor_sync(kAllLanes, given, 16);
  }
#pragma unroll
  for (int i = 0; i < 2; ++i) {
    const float kept = upper8 ? four[i + 2] : four[i], given = upper8 ? four[i] : four[i + 2];
    two[i] = kept + __shfl_xor_sync(kAllLanes, given, 8);
  }
  const float kept = upper4 ? two[1] : two[0], given = upper4 ? two[0] : two[1];
  float one = kept + __shfl_xor_sync(kAllLanes, given, 4);
  one += __shfl_xor_sync(kAllLanes, one, 2);
  return one + __shfl_xor_sync(kAllLanes, one, 1);
}

// A block has a tile, and each thread two channels of it. It walks down the rows with the gated
// values of the last K - 1 rows in registers, so each value of x is gated once a tile, and each
// weight is read once for kGroup rows.
template <class T>
__global__ void __launch_bounds__(kMaxThreads, 1)
    gated_conv_kernel(const T* __restrict__ x, const T* __restrict__ weight,
                      const float* __restrict__ norm_weight, const float* __restrict__ norm_bias,
                      float epsilon, T* __restrict__ y, const RowTile* __restrict__ tiles,
                      int channels) {
  const RowTile tile = tiles[blockIdx.x];
  const int thread = static_cast<int>(threadIdx.x), lane = thread % kLanes, warp = thread / kLanes;
  const int warps = static_cast<int>(blockDim.x) / kLanes;
  const int c = 2 * thread;
  const bool active = c < channels;  // the last warp may have lanes without channels

  float2* partial = shared_memory<float2>();  // (kGroup, kMaxWarps): a warp's mean and squares
  float2* statistics = partial + kGroup * kMaxWarps;  // (kGroup): the row's mean and scale

  const auto gated_pair = [&](int row) {
    const T* values = x + static_cast<std::int64_t>(row) * 2 * channels + c;
    const float2 a = load_pair(values), b = load_pair(values + channels);
    return make_float2(gated<T>(a.x, b.x), gated<T>(a.y, b.y));
  };
  const float2 zero = make_float2(0.0f, 0.0f);
  const int clip_begin = W2VBERT_BUG(conv_reads_the_clip_before) ? 0 : tile.clip_begin;

  // Gated values of the rows row - kPast ... row + kGroup - 1.
  float2 window[kPast + kGroup];
#pragma unroll
  for (int i = 0; i < kPast; ++i) {
    const int row = tile.first - kPast + i;
    window[i] = active && row >= clip_begin ? gated_pair(row) : zero;
  }

  const int end =
      W2VBERT_BUG(conv_omits_last_rows) ? tile.end - (tile.end - tile.first) % kGroup : tile.end;
  for (int row = tile.first; row < end; row += kGroup) {
#pragma unroll
    for (int r = 0; r < kGroup; ++r) {
      const bool there = row + r < tile.end || W2VBERT_BUG(conv_reads_behind_the_clip);
      window[kPast + r] = active && there ? gated_pair(row + r) : zero;
    }

    float2 sums[kGroup];
#pragma unroll
    for (int r = 0; r < kGroup; ++r) sums[r] = zero;
#pragma unroll
    for (int k = 0; k < kKernelSize; ++k) {
      const int tap = W2VBERT_BUG(conv_kernel_reversed) ? kPast - k : k;
      const float2 w = active ? load_pair(weight + tap * channels + c) : zero;
#pragma unroll
      for (int r = 0; r < kGroup; ++r) {
        sums[r].x += w.x * window[k + r].x;
        sums[r].y += w.y * window[k + r].y;
      }
    }
#pragma unroll
    for (int i = 0; i < kPast; ++i) window[i] = window[i + kGroup];

    // LayerNorm. Each warp has the mean of its channels and the squares of the differences from it;
    // one warp a row puts them together (Chan, Golub and LeVeque 1979: a sum of squares from those
    // of parts).
    float values[kGroup];
#pragma unroll
    for (int r = 0; r < kGroup; ++r) values[r] = sums[r].x + sums[r].y;
    const auto channels_of = [&](int of) {
      return static_cast<float>(max(0, min(kWarpChannels, channels - of * kWarpChannels)));
    };
    const float warp_mean = warp_sums(values, lane) / channels_of(warp);
#pragma unroll
    for (int r = 0; r < kGroup; ++r) {
      const float mean = __shfl_sync(kAllLanes, warp_mean, 4 * r);
      const float dx = sums[r].x - mean, dy = sums[r].y - mean;
      values[r] = active ? dx * dx + dy * dy : 0.0f;
    }
    const float warp_squares = warp_sums(values, lane);
    if (lane % 4 == 0) partial[lane / 4 * kMaxWarps + warp] = make_float2(warp_mean, warp_squares);
    if (!W2VBERT_BUG(conv_misses_the_barrier_before_sums)) {
      if (!W2VBERT_BUG(conv_barrier_in_a_branch) || active) __syncthreads();
    }
    for (int r = warp; r < kGroup; r += warps) {
      float2 part = zero;
      if (lane < warps || (W2VBERT_BUG(conv_sums_of_missing_warps) && lane < kMaxWarps)) {
        part = partial[r * kMaxWarps + lane];
      }
      const float count = channels_of(lane), all = static_cast<float>(channels);
      const float mean = warp_sum(count * part.x) / all;
      const float difference = part.x - mean;
      const float squares = warp_sum(part.y + count * difference * difference);
      const float variance = squares / (W2VBERT_BUG(conv_variance_unbiased) ? all - 1.0f : all);
      const float scale = W2VBERT_BUG(conv_epsilon_outside_the_root)
                              ? 1.0f / (sqrtf(variance) + epsilon)
                              : rsqrtf(variance + epsilon);
      if (lane == 0) statistics[r] = make_float2(mean, scale);
    }
    if (!W2VBERT_BUG(conv_misses_the_barrier_after_statistics)) __syncthreads();
    // No third barrier: `partial` was read before the second one, and `statistics` is written after
    // the next first.

    if (active) {
      const float2 norm = make_float2(norm_weight[c], norm_weight[c + 1]);
      const float2 bias = make_float2(norm_bias[c], norm_bias[c + 1]);
#pragma unroll
      for (int r = 0; r < kGroup; ++r) {
        if (row + r < end) {
          const float2 moments = statistics[r];
          float2 value = make_float2((sums[r].x - moments.x) * moments.y * norm.x + bias.x,
                                     (sums[r].y - moments.x) * moments.y * norm.y + bias.y);
          if (!W2VBERT_BUG(conv_without_swish)) {
            value.x *= sigmoid_of<T>(value.x);
            value.y *= sigmoid_of<T>(value.y);
          }
          store_pair(y + static_cast<std::int64_t>(row + r) * channels + c, value);
        }
      }
    }
  }
}

// ---- All other sizes ----------------------------------------------------------------------------
// Correct for any kernel size and up to 8192 channels, and not fast: it gates each value K times.
constexpr int kPlainThreads = 256;

template <class T>
__global__ void __launch_bounds__(kPlainThreads)
    plain_gated_conv_kernel(const T* __restrict__ x, const T* __restrict__ weight,
                            const float* __restrict__ norm_weight,
                            const float* __restrict__ norm_bias, float epsilon, T* __restrict__ y,
                            const RowTile* __restrict__ tiles, int channels, int kernel_size) {
  constexpr int kWarps = kPlainThreads / kLanes;
  const RowTile tile = tiles[blockIdx.x];
  float* sums = shared_memory<float>();   // (2, kWarps)
  float* row_values = sums + 2 * kWarps;  // (channels); a thread reads what it wrote itself
  const int thread = static_cast<int>(threadIdx.x);
  for (int row = tile.first; row < tile.end; ++row) {
    float sum = 0.0f;
    for (int c = thread; c < channels; c += kPlainThreads) {
      float value = 0.0f;
      for (int k = 0; k < kernel_size; ++k) {
        const int from = row - (kernel_size - 1) + k;
        float input = 0.0f;
        if (from >= tile.clip_begin) {
          const T* values = x + static_cast<std::int64_t>(from) * 2 * channels + c;
          input = gated<T>(to_float(values[0]), to_float(values[channels]));
        }
        value += to_float(weight[k * channels + c]) * input;
      }
      row_values[c] = value;
      sum += value;
    }
    const float mean = block_sum(sum, sums, kWarps) / static_cast<float>(channels);
    float squares = 0.0f;
    for (int c = thread; c < channels; c += kPlainThreads) {
      const float difference = row_values[c] - mean;
      squares += difference * difference;
    }
    const float variance = block_sum(squares, sums + kWarps, kWarps) / static_cast<float>(channels);
    const float scale = rsqrtf(variance + epsilon);
    for (int c = thread; c < channels; c += kPlainThreads) {
      const float value = (row_values[c] - mean) * scale * norm_weight[c] + norm_bias[c];
      y[static_cast<std::int64_t>(row) * channels + c] =
          from_float<T>(value * sigmoid_of<T>(value));
    }
    // The next row's first sum writes what this row's second one has let all threads read: the
    // barrier between.
    __syncthreads();
  }
}

}  // namespace

const char* launch_gated_conv(const GatedConv& arguments, Element element, void* stream) {
  if (arguments.channels <= 0 || arguments.channels % 8 != 0 || arguments.channels > 8192) {
    return "gated_conv: channels that are not a multiple of 8 up to 8192";
  }
  if (arguments.kernel_size < 1 || arguments.kernel_size > 64) {
    return "gated_conv: a kernel size that is not 1 to 64";
  }
  if (arguments.tile_count == 0) return nullptr;
  const dim3 grid{static_cast<unsigned>(arguments.tile_count), 1, 1};
  return for_element(element, [&](auto zero) {
    using T = decltype(zero);
    const auto* x = static_cast<const T*>(arguments.x);
    const auto* weight = static_cast<const T*>(arguments.weight);
    auto* y = static_cast<T*>(arguments.y);
    const int channels = arguments.channels;
    if (arguments.kernel_size == kKernelSize && channels <= 2 * kMaxThreads) {
      const int threads = (channels + kWarpChannels - 1) / kWarpChannels * kLanes;
      const std::size_t shared_bytes = (kGroup * kMaxWarps + kGroup) * sizeof(float2);
      return launch(gated_conv_kernel<T>, grid, threads, shared_bytes, stream, x, weight,
                    arguments.norm_weight, arguments.norm_bias, arguments.epsilon, y,
                    arguments.tiles, channels);
    }
    const std::size_t shared_bytes =
        (2 * kPlainThreads / kLanes + static_cast<std::size_t>(channels)) * sizeof(float);
    return launch(plain_gated_conv_kernel<T>, grid, kPlainThreads, shared_bytes, stream, x, weight,
                  arguments.norm_weight, arguments.norm_bias, arguments.epsilon, y, arguments.tiles,
                  channels, static_cast<int>(arguments.kernel_size));
  });
}

}  // namespace w2vbert::cuda
