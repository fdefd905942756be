// y = swish(x + bias): between the two products of a feed-forward module.
#include "engine/device/cuda/device.cuh"

namespace w2vbert::cuda {
namespace {

constexpr int kThreads = 256;

// A thread has eight columns of a row, 16 bytes in the narrow types: the widest access there is.
template <class T>
__global__ void __launch_bounds__(kThreads)
    bias_swish_kernel(const T* x, const T* bias, T* y, std::int64_t size, int channels) {
  const std::int64_t thread = static_cast<std::int64_t>(blockIdx.x) * kThreads + threadIdx.x;
  const std::int64_t i = thread * 8;
  if (W2VBERT_BUG(swish_beyond_the_end) ? i > size : i >= size) return;
  float values[8];
  load_eight(x + i, values);
  if (bias != nullptr && !W2VBERT_BUG(swish_without_bias)) {
    float biases[8];
    load_eight(bias + i % channels, biases);
#pragma unroll
    for (int j = 0; j < 8; ++j) values[j] += biases[j];
  }
#pragma unroll
  for (int j = 0; j < 8; ++j) values[j] *= sigmoid_of<T>(values[j]);
  store_eight(y + i, values);
}

}  // namespace

const char* launch_bias_swish(const BiasSwish& arguments, Element element, void* stream) {
  if (arguments.channels <= 0 || arguments.channels % 8 != 0) {
    return "bias_swish: channels that are not a multiple of 8";
  }
  const std::int64_t size = arguments.rows * arguments.channels;
  if (size == 0) return nullptr;
  const auto blocks = static_cast<unsigned>((size / 8 + kThreads - 1) / kThreads);
  return for_element(element, [&](auto zero) {
    using T = decltype(zero);
    return launch(bias_swish_kernel<T>, dim3{blocks, 1, 1}, kThreads, 0, stream,
                  static_cast<const T*>(arguments.x), static_cast<const T*>(arguments.bias),
                  static_cast<T*>(arguments.y), size, static_cast<int>(arguments.channels));
  });
}

}  // namespace w2vbert::cuda
