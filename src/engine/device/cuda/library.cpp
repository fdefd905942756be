// libw2vbert_cuda.so: the kernels for GPUs, with what the program needs of CUDA beside them.
#include "engine/device/cuda/library.h"

#include <c10/cuda/CUDAStream.h>
#include <cuda_runtime_api.h>

#include <cstdio>

#include "w2vbert/version.h"

#define W2VBERT_TEXT_OF(number) #number
#define W2VBERT_VERSION_TEXT(major, minor, patch) \
  W2VBERT_TEXT_OF(major) "." W2VBERT_TEXT_OF(minor) "." W2VBERT_TEXT_OF(patch)

namespace {

void* current_stream(std::int32_t device) {
  return c10::cuda::getCurrentCUDAStream(static_cast<c10::DeviceIndex>(device)).stream();
}

const char* describe_device(std::int32_t device, char* text, std::size_t size) {
  cudaDeviceProp properties{};
  int driver = 0, runtime = 0;
  for (const cudaError_t error : {cudaGetDeviceProperties(&properties, device),
                                  cudaDriverGetVersion(&driver), cudaRuntimeGetVersion(&runtime)}) {
    if (error == cudaSuccess) continue;
    (void)cudaGetLastError();  // forgets it: the caller has it
    return cudaGetErrorString(error);
  }
  constexpr int kMajor = 1000, kMinor = 10;  // 13020 is CUDA 13.2
  std::snprintf(text, size, "%s (sm_%d%d), driver for CUDA %d.%d, CUDA runtime %d.%d",
                static_cast<const char*>(properties.name), properties.major, properties.minor,
                driver / kMajor, driver % kMajor / kMinor, runtime / kMajor,
                runtime % kMajor / kMinor);
  return nullptr;
}

}  // namespace

extern "C" __attribute__((visibility("default"))) const w2vbert::cuda::KernelLibrary*
w2vbert_kernel_library() {
  using namespace w2vbert::cuda;
  static const KernelLibrary library{
      kLibraryInterface,
      KernelMemory::gpu,
      W2VBERT_VERSION_TEXT(W2VBERT_VERSION_MAJOR, W2VBERT_VERSION_MINOR, W2VBERT_VERSION_PATCH),
      {launch_gated_conv, launch_relative_attention, launch_add_norm, launch_bias_swish,
       current_stream},
      describe_device};
  return &library;
}
