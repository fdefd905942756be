// The emulator as a library of kernels, for programs that run on a CPU. EMULATED_BUG=N in the
// environment plants a fault, by its number (planted_bugs.h).
#include <cstdio>
#include <cstdlib>

#include "engine/cuda/emulator/emulator.h"
#include "engine/device/cuda/library.h"

namespace {

const char* describe_device(std::int32_t, char* text, std::size_t size) {
  std::snprintf(text, size, "the emulator");
  return nullptr;
}

}  // namespace

extern "C" __attribute__((visibility("default"))) const w2vbert::cuda::KernelLibrary*
w2vbert_kernel_library() {
  using namespace w2vbert::cuda;
  if (const char* bug = std::getenv("EMULATED_BUG")) {
    emulator::planted_bug = static_cast<emulator::Bug>(std::strtol(bug, nullptr, /*base=*/10));
  }
  static const KernelLibrary library{
      EMULATED_INTERFACE,
      KernelMemory::cpu,
      EMULATED_VERSION,
      {launch_gated_conv, launch_relative_attention, launch_add_norm, launch_bias_swish, nullptr},
      describe_device};
  return &library;
}
