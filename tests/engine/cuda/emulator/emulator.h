// CUDA's words for a CPU: what the kernels in src/engine/device/cuda/ use of the language, so that
// g++ compiles the same sources, and runs them under checks.
//
// The kernels are compiled with -fsanitize=thread, but not linked with its library: the compiler
// then calls a function before each access to memory, and emulator.cpp defines those functions. So
// the kernels keep their plain pointers, and each access to global or shared memory is seen with
// its address, its size and the thread that makes it. This file finds, as compute-sanitizer does on
// a GPU:
//   bounds         an access to no buffer, or beyond the shared memory that the launch asked for
//   uninitialised  a read of what no thread and no host has written
//   race           two threads at one place, one of them writing, without a barrier between them
//   barrier        threads of a block that wait at different barriers, or for threads that have
//   ended
// and counts bytes, sectors of 32 bytes, bank conflicts and matrix products.
//
// A thread is a fiber: it runs until it waits for the others of its warp or of its block. One block
// runs after the other, so what happens is the same each time.
#pragma once

#include <bit>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <functional>
#include <limits>
#include <string>
#include <utility>
#include <vector>

#include "engine/cuda/emulator/planted_bugs.h"

// ---- What a kernel's source is written in -------------------------------------------------------
// NOLINTBEGIN(bugprone-reserved-identifier): the names are CUDA's.
#define __global__
#define __device__
#define __host__
#define __forceinline__ inline
#define __launch_bounds__(...)

struct dim3 {
  unsigned x = 1, y = 1, z = 1;
};
struct alignas(8) uint2 {
  unsigned x, y;
};
struct alignas(16) uint4 {
  unsigned x, y, z, w;
};
struct alignas(8) float2 {
  float x, y;
};
inline float2 make_float2(float x, float y) { return {x, y}; }
inline uint2 make_uint2(unsigned x, unsigned y) { return {x, y}; }
inline uint4 make_uint4(unsigned x, unsigned y, unsigned z, unsigned w) { return {x, y, z, w}; }

extern dim3 threadIdx, blockIdx, blockDim, gridDim;

void __syncthreads();
void __syncwarp();
float __shfl_xor_sync(unsigned mask, float value, int lanes);
float __shfl_sync(unsigned mask, float value, int lane);

inline float __expf(float x) { return std::exp(x); }
inline float __fdividef(float x, float y) { return x / y; }
inline float rsqrtf(float x) { return 1.0f / std::sqrt(x); }
inline int min(int a, int b) { return a < b ? a : b; }
inline int max(int a, int b) { return a > b ? a : b; }
inline float __uint_as_float(unsigned bits) { return std::bit_cast<float>(bits); }
inline unsigned __float_as_uint(float value) { return std::bit_cast<unsigned>(value); }

struct __nv_bfloat16 {
  std::uint16_t bits;
};
struct __half {
  std::uint16_t bits;
};

inline float __bfloat162float(__nv_bfloat16 value) {
  return std::bit_cast<float>(static_cast<std::uint32_t>(value.bits) << 16);
}
// Rounds to the nearest, ties to the even one.
inline __nv_bfloat16 __float2bfloat16_rn(float value) {
  const auto bits = std::bit_cast<std::uint32_t>(value);
  if (value != value) return {0x7fff};
  return {static_cast<std::uint16_t>((bits + 0x7fff + ((bits >> 16) & 1)) >> 16)};
}
inline float __half2float(__half value) {
  const std::uint32_t sign = (value.bits & 0x8000u) << 16, exponent = (value.bits >> 10) & 31u,
                      fraction = value.bits & 0x3ffu;
  if (exponent == 31) return std::bit_cast<float>(sign | 0x7f800000u | (fraction << 13));
  if (exponent == 0) {  // zero, or below the normal numbers: units of 2^-24
    const float small = static_cast<float>(fraction) * 0x1p-24f;
    return sign != 0 ? -small : small;
  }
  return std::bit_cast<float>(sign | ((exponent + 112) << 23) | (fraction << 13));
}
inline __half __float2half_rn(float value) {
  const auto bits = std::bit_cast<std::uint32_t>(value);
  const auto sign = static_cast<std::uint16_t>((bits >> 16) & 0x8000u);
  const float size = std::fabs(value);
  if (value != value) return {0x7fff};
  if (size >= 65520.0f) return {static_cast<std::uint16_t>(sign | 0x7c00u)};
  if (size < 0x1p-14f) {  // adding 2^-1 rounds to units of 2^-24
    return {static_cast<std::uint16_t>(
        sign | (std::bit_cast<std::uint32_t>(size + 0.5f) - std::bit_cast<std::uint32_t>(0.5f)))};
  }
  const std::uint32_t magnitude = bits & 0x7fffffffu;
  const std::uint32_t rounded = magnitude + 0xfffu + ((magnitude >> 13) & 1);
  return {static_cast<std::uint16_t>(sign | ((rounded >> 13) - (112u << 10)))};
}

// NOLINTEND(bugprone-reserved-identifier)

// ---- What the kernels' own wrappers of instructions call (device.cuh, tensor_core.cuh) ----------
namespace emulator {

// The block's dynamic shared memory, at a launch.
void* shared_memory();
// Vectors of 4, 8 and 16 bytes as one access each; the compiler would make several of the members'
// uses.
uint4 load16(const void* from);
uint2 load8(const void* from);
unsigned load4(const void* from);
void store16(void* to, uint4 value);
void store8(void* to, uint2 value);
void store4(void* to, unsigned value);

// cp.async: 16 bytes from global to shared memory, or zeros. The copy happens as late as it may, in
// the wait; what lies in shared memory until then counts as uninitialised.
void copy_async(void* to, const void* from, bool zeros);
void commit_copies();
void wait_for_copies(int groups_in_flight);

// ldmatrix: each of four 8 x 8 matrices by its rows' addresses in eight lanes.
void load_matrices(unsigned (&to)[4], const void* row, bool transposed);
// mma.sync.m16n8k16: c += a b, of two-byte elements.
void multiply_bfloat16(float (&c)[4], const unsigned (&a)[4], const unsigned (&b)[2]);
void multiply_float16(float (&c)[4], const unsigned (&a)[4], const unsigned (&b)[2]);

// Runs kernel() in every thread of every block.
void launch(dim3 grid, unsigned threads, std::size_t shared_bytes,
            const std::function<void()>& kernel);

// ---- What tests ask -----------------------------------------------------------------------------
struct Findings {
  std::size_t bounds = 0, uninitialised = 0, race = 0, barrier = 0;
  std::vector<std::string> messages;  // the first ones

  std::size_t total() const { return bounds + uninitialised + race + barrier; }
  std::string text() const;
};
// What has been found since the last call.
Findings take_findings();

struct Counters {
  std::uint64_t read_bytes = 0, written_bytes = 0;      // of global memory, each access
  std::uint64_t read_sectors = 0, written_sectors = 0;  // of 32 bytes, once for a warp's access
  // Sectors at least once: what comes from memory where caches hold all that is read again.
  std::uint64_t distinct_read_sectors = 0, distinct_written_sectors = 0;
  std::uint64_t shared_accesses = 0;  // of warps
  std::uint64_t bank_conflicts = 0;   // further turns that they took
  std::uint64_t matrix_products = 0;  // mma.sync.m16n8k16
  std::uint64_t shuffles = 0;         // of warps
  std::uint64_t shared_bytes = 0;     // of a block, the most
};
// Counting takes most of the time, so it is off at first.
void count_traffic(bool on);
Counters take_counters();

// Global memory in the arena that is watched. Elements that were not given count as uninitialised.
void* allocate(std::size_t bytes, const char* name);
void release(void* memory);
void mark_written(void* memory, std::size_t bytes);
// Bytes of a buffer that nobody has written.
std::size_t unwritten_bytes(const void* memory);

template <class T>
class Buffer {
 public:
  Buffer(std::size_t size, const char* name)
      : size_(size), data_(static_cast<T*>(allocate(size * sizeof(T), name))) {}
  Buffer(const std::vector<T>& values, const char* name) : Buffer(values.size(), name) {
    if (!values.empty()) std::memcpy(data_, values.data(), size_ * sizeof(T));
    mark_written(data_, size_ * sizeof(T));
  }
  Buffer(const Buffer&) = delete;
  Buffer& operator=(const Buffer&) = delete;
  ~Buffer() { release(data_); }

  T* data() { return data_; }
  std::size_t size() const { return size_; }
  std::size_t unwritten() const { return unwritten_bytes(data_); }
  std::vector<T> values() const { return {data_, data_ + size_}; }

 private:
  std::size_t size_;
  T* data_;
};

}  // namespace emulator
