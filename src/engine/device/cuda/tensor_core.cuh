// The instructions of attention that C++ has no words for: matrix products, loads of their
// fragments, copies to shared memory that do not wait. PTX ISA, "Warp Level Matrix Instructions"
// and "Data Movement: cp.async". All of them are there from sm_80 on.
#pragma once

#include "engine/device/cuda/device.cuh"

namespace w2vbert::cuda {

// c += a b for one warp: a (16, 16), b (16, 8), c (16, 8). Lane l has the rows l / 4 and l / 4 + 8
// of c, in the columns 2 (l % 4) and the next; a and b lie accordingly.
template <class T>
__device__ __forceinline__ void multiply_add(float (&c)[4], const unsigned (&a)[4],
                                             const unsigned (&b)[2]) {
#ifdef __CUDACC__
  if constexpr (std::is_same_v<T, __nv_bfloat16>) {
    asm volatile(
        "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 "
        "{%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
        : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
  } else {
    asm volatile(
        "mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 "
        "{%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
        : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
  }
#else
  if constexpr (std::is_same_v<T, __nv_bfloat16>) {
    emulator::multiply_bfloat16(c, a, b);
  } else {
    emulator::multiply_float16(c, a, b);
  }
#endif
}

#ifdef __CUDACC__
__device__ __forceinline__ unsigned shared_address(const void* pointer) {
  return static_cast<unsigned>(__cvta_generic_to_shared(pointer));
}
#endif

// Four (8, 8) matrices of two-byte elements. Lanes 0 to 7 name the rows of the first one, 8 to 15
// of the second, and so on. Lane l gets row l / 4, columns 2 (l % 4) and the next, of each;
// transposed: of each matrix's transpose.
template <bool kTransposed>
__device__ __forceinline__ void load_matrices(unsigned (&to)[4], const void* row) {
#ifdef __CUDACC__
  if constexpr (kTransposed) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(to[0]), "=r"(to[1]), "=r"(to[2]), "=r"(to[3])
                 : "r"(shared_address(row))
                 : "memory");
  } else {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(to[0]), "=r"(to[1]), "=r"(to[2]), "=r"(to[3])
                 : "r"(shared_address(row))
                 : "memory");
  }
#else
  emulator::load_matrices(to, row, kTransposed);
#endif
}

// 2^x by the one instruction, exact to 2 units in the last place; numbers below 2^-126 become 0.
__device__ __forceinline__ float power_of_two(float x) {
#ifdef __CUDACC__
  float y;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
#else
  return exp2f(x);
#endif
}

// Begins to copy 16 bytes from global to shared memory; zeros instead, without reading, where
// `zeros` says so.
__device__ __forceinline__ void copy_async(void* to, const void* from, bool zeros) {
#ifdef __CUDACC__
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(shared_address(to)), "l"(from),
               "r"(zeros ? 0 : 16)
               : "memory");
#else
  emulator::copy_async(to, from, zeros);
#endif
}
// The copies begun since the last call are a group.
__device__ __forceinline__ void commit_copies() {
#ifdef __CUDACC__
  asm volatile("cp.async.commit_group;" ::: "memory");
#else
  emulator::commit_copies();
#endif
}
// Waits for this thread's copies; the other threads see them after a barrier.
__device__ __forceinline__ void wait_for_copies() {
#ifdef __CUDACC__
  asm volatile("cp.async.wait_group 0;" ::: "memory");
#else
  emulator::wait_for_copies(0);
#endif
}

}  // namespace w2vbert::cuda
