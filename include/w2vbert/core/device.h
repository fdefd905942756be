// Where a model runs.
#pragma once

#include <c10/core/Device.h>

#include <string>
#include <string_view>

namespace w2vbert {

/// "cpu", "cuda" (the first device) or "cuda:N". For CUDA the device must be usable: the backend is
/// loaded if the program does not link it (load_cuda_backend), and N must exist. Throws UsageError.
c10::Device parse_device(std::string_view text);

/// Loads LibTorch's CUDA library, libtorch_cuda.so, from the directory of the libtorch_cpu.so in
/// use. A program that links LibTorch's CPU libraries alone starts faster and still reaches CUDA
/// this way. LibTorch asks for its CUDA backend once and remembers the answer, so this must come
/// before anything that asks (a CUDA tensor, torch::manual_seed, torch::cuda::is_available).
/// Returns
/// "" when a device can be used, otherwise why not, in one line. Never throws; may be called again.
std::string load_cuda_backend();

}  // namespace w2vbert
