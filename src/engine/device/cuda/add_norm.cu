// residual += delta, and LayerNorm of it: what stands between two modules of an encoder layer.
#include "engine/device/cuda/device.cuh"

namespace w2vbert::cuda {
namespace {

constexpr int kMaxThreads = 256;
constexpr int kMaxVectors = 4;

// A block has a row, and a thread `kVectors` times eight of its channels in registers: the row is
// read once.
template <class T, class Y, int kVectors>
__global__ void __launch_bounds__(kMaxThreads)
    add_norm_kernel(float* residual, const T* delta, float delta_scale, const float* norm_weight,
                    const float* norm_bias, float epsilon, Y* y, int channels) {
  const std::int64_t row = blockIdx.x;
  const int threads = static_cast<int>(blockDim.x), warps = threads / kLanes;
  float* sums = shared_memory<float>();  // (2, warps): of the values, and of the squares
  residual += row * channels;
  y += row * channels;

  float values[kVectors][8];
  float sum = 0.0f;
#pragma unroll
  for (int v = 0; v < kVectors; ++v) {
    const int c = (v * threads + static_cast<int>(threadIdx.x)) * 8;
    if (c < channels) {
      load_eight(residual + c, values[v]);
      if (delta != nullptr) {
        float deltas[8];
        load_eight(delta + row * channels + c, deltas);
        float result[8];
#pragma unroll
        for (int j = 0; j < 8; ++j) result[j] = values[v][j] + delta_scale * deltas[j];
        if (!W2VBERT_BUG(norm_residual_not_written)) store_eight(residual + c, result);
        if (!W2VBERT_BUG(norm_of_the_residual_alone)) {
#pragma unroll
          for (int j = 0; j < 8; ++j) values[v][j] = result[j];
        }
      }
    } else {
#pragma unroll
      for (int j = 0; j < 8; ++j) values[v][j] = 0.0f;
    }
#pragma unroll
    for (int j = 0; j < 8; ++j) sum += values[v][j];
  }
  const float mean = block_sum(sum, sums, warps) / static_cast<float>(channels);

  // The squares of the differences, not of the values: their sum keeps its digits where the mean is
  // large.
  float squares = 0.0f;
#pragma unroll
  for (int v = 0; v < kVectors; ++v) {
    const int c = (v * threads + static_cast<int>(threadIdx.x)) * 8;
    if (c < channels || W2VBERT_BUG(norm_counts_the_tail)) {
#pragma unroll
      for (int j = 0; j < 8; ++j) squares += (values[v][j] - mean) * (values[v][j] - mean);
    }
  }
  const float variance = block_sum(squares, sums + warps, warps) / static_cast<float>(channels);
  const float scale = rsqrtf(variance + epsilon);

#pragma unroll
  for (int v = 0; v < kVectors; ++v) {
    const int c = (v * threads + static_cast<int>(threadIdx.x)) * 8;
    if (c < channels) {
      float weights[8], biases[8];
      load_eight(norm_weight + c, weights);
      load_eight(norm_bias + c, biases);
#pragma unroll
      for (int j = 0; j < 8; ++j)
        values[v][j] = (values[v][j] - mean) * scale * weights[j] + biases[j];
      store_eight(y + c, values[v]);
    }
  }
}

template <class T, class Y, int kVectors>
const char* launch_as(const AddNorm& arguments, void* stream) {
  const int vectors = arguments.channels / 8;
  const int threads = ((vectors + kVectors - 1) / kVectors + kLanes - 1) / kLanes * kLanes;
  return launch(add_norm_kernel<T, Y, kVectors>, dim3{static_cast<unsigned>(arguments.rows), 1, 1},
                threads, 2 * sizeof(float) * static_cast<std::size_t>(threads / kLanes), stream,
                arguments.residual, static_cast<const T*>(arguments.delta), arguments.scale,
                arguments.norm_weight, arguments.norm_bias, arguments.epsilon,
                static_cast<Y*>(arguments.y), static_cast<int>(arguments.channels));
}

template <class T, class Y>
const char* launch_for_channels(const AddNorm& arguments, void* stream) {
  return arguments.channels <= kMaxThreads * 8 ? launch_as<T, Y, 1>(arguments, stream)
                                               : launch_as<T, Y, kMaxVectors>(arguments, stream);
}

}  // namespace

const char* launch_add_norm(const AddNorm& arguments, Element element, void* stream) {
  if (arguments.channels <= 0 || arguments.channels % 8 != 0 ||
      arguments.channels > kMaxThreads * 8 * kMaxVectors) {
    return "add_norm: channels that are not a multiple of 8 up to 8192";
  }
  if (arguments.rows == 0) return nullptr;
  return for_element(element, [&](auto zero) {
    using T = decltype(zero);
    return arguments.float32_output ? launch_for_channels<T, float>(arguments, stream)
                                    : launch_for_channels<T, T>(arguments, stream);
  });
}

}  // namespace w2vbert::cuda
