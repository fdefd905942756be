// The library of our own kernels, which a program loads when it needs it.
#pragma once

#include <string>

#include "engine/device/cuda/library.h"

namespace w2vbert {

struct LoadedKernels {
  // Null: there are none. Lives until the process ends.
  const cuda::KernelLibrary* library = nullptr;
  std::string path;
  std::string digest;   // of the file's bytes, 16 hexadecimal digits
  std::string problem;  // why there are none, in one line
};

// Never throws.
LoadedKernels load_kernel_library(const std::string& named);

// The variable of the environment that names the file instead of libw2vbert_cuda.so.
inline constexpr const char* kKernelLibraryVariable = "W2VBERT_CUDA_LIBRARY";

// libw2vbert_cuda.so beside the program or where it is installed, or the file that the environment
// names. The first call loads it. It needs LibTorch's CUDA libraries:
// load_cuda_backend() comes first. Never throws.
const LoadedKernels& kernel_library();

}  // namespace w2vbert
