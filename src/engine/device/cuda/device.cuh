// What all kernels share: elements in memory and in registers, sums over a warp, launching. The
// same sources are compiled by nvcc for GPUs and by a C++ compiler for the emulator
// (tests/engine/cuda/emulator/).
#pragma once

#ifdef __CUDACC__
#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_runtime.h>
// A fault that tests plant (tests/engine/cuda/planted_bugs_test.cpp); never there on a GPU.
#define W2VBERT_BUG(name) false
#else
#include "engine/cuda/emulator/emulator.h"
#define W2VBERT_BUG(name) (emulator::planted_bug == emulator::Bug::name)
#endif

#include <cstddef>
#include <cstdint>
#include <limits>
#include <type_traits>

#include "engine/device/cuda/launchers.h"

namespace w2vbert::cuda {

inline constexpr int kLanes = 32;  // of a warp
inline constexpr unsigned kAllLanes = 0xffffffffu;
inline constexpr float kLowest = -3.40282346638528859812e+38f;

__device__ __forceinline__ float infinity() { return __uint_as_float(0x7f800000u); }

// ---- Memory -------------------------------------------------------------------------------------
// Vectors of 8 and 16 bytes are one instruction; on the CPU the emulator has to see them as one.
#ifdef __CUDACC__
__device__ __forceinline__ uint4 load16(const void* from) {
  return *static_cast<const uint4*>(from);
}
__device__ __forceinline__ uint2 load8(const void* from) {
  return *static_cast<const uint2*>(from);
}
__device__ __forceinline__ unsigned load4(const void* from) {
  return *static_cast<const unsigned*>(from);
}
__device__ __forceinline__ void store16(void* to, uint4 value) { *static_cast<uint4*>(to) = value; }
__device__ __forceinline__ void store8(void* to, uint2 value) { *static_cast<uint2*>(to) = value; }
__device__ __forceinline__ void store4(void* to, unsigned value) {
  *static_cast<unsigned*>(to) = value;
}
template <class T>
__device__ __forceinline__ T* shared_memory() {
  extern __shared__ uint4 dynamic_shared_memory[];
  return reinterpret_cast<T*>(dynamic_shared_memory);
}
#else
using emulator::load16;
using emulator::load4;
using emulator::load8;
using emulator::store16;
using emulator::store4;
using emulator::store8;
template <class T>
T* shared_memory() {
  return static_cast<T*>(emulator::shared_memory());
}
#endif

// ---- Elements -----------------------------------------------------------------------------------
__device__ __forceinline__ float to_float(float value) { return value; }
__device__ __forceinline__ float to_float(__nv_bfloat16 value) { return __bfloat162float(value); }
__device__ __forceinline__ float to_float(__half value) { return __half2float(value); }

template <class T>
__device__ __forceinline__ T from_float(float value) {
  if constexpr (std::is_same_v<T, float>) {
    return value;
  } else if constexpr (std::is_same_v<T, __nv_bfloat16>) {
    return __float2bfloat16_rn(value);
  } else {
    return __float2half_rn(value);
  }
}

// Two narrow elements in a register, the first in the lower half, as the matrix products want them.
template <class T>
__device__ __forceinline__ unsigned pack2(float low, float high) {
#ifdef __CUDACC__
  if constexpr (std::is_same_v<T, __nv_bfloat16>) {
    const __nv_bfloat162 both = __floats2bfloat162_rn(low, high);
    return reinterpret_cast<const unsigned&>(both);
  } else {
    const __half2 both = __floats2half2_rn(low, high);
    return reinterpret_cast<const unsigned&>(both);
  }
#else
  return from_float<T>(low).bits | static_cast<unsigned>(from_float<T>(high).bits) << 16;
#endif
}

template <class T>
__device__ __forceinline__ float2 unpack2(unsigned both) {
  if constexpr (std::is_same_v<T, __nv_bfloat16>) {  // the upper half of a float
    return make_float2(__uint_as_float(both << 16), __uint_as_float(both & 0xffff0000u));
  } else {
#ifdef __CUDACC__
    return __half22float2(reinterpret_cast<const __half2&>(both));
#else
    return {__half2float({static_cast<std::uint16_t>(both)}),
            __half2float({static_cast<std::uint16_t>(both >> 16)})};
#endif
  }
}

// Two elements in a row, whatever their type.
template <class T>
__device__ __forceinline__ float2 load_pair(const T* from) {
  if constexpr (std::is_same_v<T, float>) {
    const uint2 words = load8(from);
    return make_float2(__uint_as_float(words.x), __uint_as_float(words.y));
  } else {
    return unpack2<T>(load4(from));
  }
}
template <class T>
__device__ __forceinline__ void store_pair(T* to, float2 values) {
  if constexpr (std::is_same_v<T, float>) {
    store8(to, make_uint2(__float_as_uint(values.x), __float_as_uint(values.y)));
  } else {
    store4(to, pack2<T>(values.x, values.y));
  }
}

// Eight elements in a row.
template <class T>
__device__ __forceinline__ void load_eight(const T* from, float (&values)[8]) {
  if constexpr (std::is_same_v<T, float>) {
    const uint4 low = load16(from), high = load16(from + 4);
    const unsigned words[8] = {low.x, low.y, low.z, low.w, high.x, high.y, high.z, high.w};
#pragma unroll
    for (int i = 0; i < 8; ++i) values[i] = __uint_as_float(words[i]);
  } else {
    const uint4 raw = load16(from);
    const unsigned words[4] = {raw.x, raw.y, raw.z, raw.w};
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const float2 pair = unpack2<T>(words[i]);
      values[2 * i] = pair.x;
      values[2 * i + 1] = pair.y;
    }
  }
}
template <class T>
__device__ __forceinline__ void store_eight(T* to, const float (&values)[8]) {
  if constexpr (std::is_same_v<T, float>) {
    const auto bits = [&](int i) { return __float_as_uint(values[i]); };
    store16(to, make_uint4(bits(0), bits(1), bits(2), bits(3)));
    store16(to + 4, make_uint4(bits(4), bits(5), bits(6), bits(7)));
  } else {
    const auto pair = [&](int i) { return pack2<T>(values[i], values[i + 1]); };
    store16(to, make_uint4(pair(0), pair(2), pair(4), pair(6)));
  }
}

// ---- Arithmetic ---------------------------------------------------------------------------------
// 1 / (1 + e^-x). A NaN stays one. The fast quotient is exact to 2 units in the last place; where
// the exponential is infinite it is 0. The fast exponential is exact to 2 units in the last place
// near 0, far below what narrow elements keep; float32 gets the exact one.
template <class T>
__device__ __forceinline__ float sigmoid_of(float x) {
  if constexpr (std::is_same_v<T, float>) {
    return __fdividef(1.0f, 1.0f + expf(-x));
  } else {
    return __fdividef(1.0f, 1.0f + __expf(-x));
  }
}

// The sum over a warp, in all of its lanes.
__device__ __forceinline__ float warp_sum(float value) {
#pragma unroll
  for (int lanes = kLanes / 2; lanes > 0; lanes /= 2)
    value += __shfl_xor_sync(kAllLanes, value, lanes);
  return value;
}

// The sum over a block, in all of its threads. `sums` is shared memory of a float a warp, which no
// thread may still be reading for an earlier sum.
__device__ __forceinline__ float block_sum(float value, float* sums, int warps) {
  value = warp_sum(value);
  const int lane = static_cast<int>(threadIdx.x) % kLanes,
            warp = static_cast<int>(threadIdx.x) / kLanes;
  if (lane == 0) sums[warp] = value;
  if (!W2VBERT_BUG(misses_the_barrier_between_sums)) __syncthreads();
  float sum = 0.0f;
  for (int i = 0; i < warps; ++i) sum += sums[i];
  return sum;
}

// ---- Launching ----------------------------------------------------------------------------------
// Returns nullptr, or the error's name.
template <class... Parameters>
const char* launch(void (*kernel)(Parameters...), dim3 grid, int threads, std::size_t shared_bytes,
                   void* stream, Parameters... parameters) {
#ifdef __CUDACC__
  constexpr std::size_t kWithoutAsking = 48 << 10;
  if (shared_bytes > kWithoutAsking) {
    const auto error = cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize,
                                            static_cast<int>(shared_bytes));
    if (error != cudaSuccess) {
      cudaGetLastError();  // forgets it: the caller has it
      return cudaGetErrorString(error);
    }
  }
  kernel<<<grid, static_cast<unsigned>(threads), shared_bytes, static_cast<cudaStream_t>(stream)>>>(
      parameters...);
  const auto error = cudaGetLastError();
  return error == cudaSuccess ? nullptr : cudaGetErrorString(error);
#else
  static_cast<void>(stream);
  emulator::launch(grid, static_cast<unsigned>(threads), shared_bytes,
                   [&] { kernel(parameters...); });
  return nullptr;
#endif
}

// visit(T()) with the element's type.
template <class Visit>
const char* for_element(Element element, const Visit& visit) {
  switch (element) {
    case Element::float32:
      return visit(float());
    case Element::bfloat16:
      return visit(__nv_bfloat16());
    case Element::float16:
      return visit(__half());
  }
  return "an unknown element";
}

}  // namespace w2vbert::cuda
