// What a library of the kernels gives to the program that loads it: libw2vbert_cuda.so, or the
// tests' emulator as a library. Plain C++.
#pragma once

#include <cstddef>
#include <cstdint>

#include "engine/device/cuda/launchers.h"

namespace w2vbert::cuda {

// Counted up when this file, launchers.h or row_tiles.h changes what stands where.
inline constexpr std::uint32_t kLibraryInterface = 1;

enum class KernelMemory : std::uint32_t { gpu, cpu };

struct KernelLibrary {
  std::uint32_t interface = kLibraryInterface;  // of its build; nothing behind it holds for another
  KernelMemory memory = KernelMemory::gpu;      // where the kernels' arguments lie
  const char* version = "";                     // w2vbert's
  Launchers launchers;
  // One line: the device's name and architecture, and the versions of the driver and the runtime.
  // Returns nullptr, or what was wrong.
  const char* (*describe_device)(std::int32_t device, char* text, std::size_t size) = nullptr;
};

// The function of a library that returns its table.
using KernelLibraryFunction = const KernelLibrary* (*)();
inline constexpr const char* kKernelLibraryFunction = "w2vbert_kernel_library";

}  // namespace w2vbert::cuda
