#include "engine/device/choose_ops.h"

#include "core/environment.h"
#include "core/text.h"
#include "engine/device/aten_ops.h"
#include "engine/device/kernel_library.h"
#include "engine/device/kernel_ops.h"
#include "w2vbert/core/device.h"

namespace w2vbert {
namespace {

OpsChoice aten_ops_because(const std::string& reason) {
  return {std::make_shared<AtenOps>(), false,
          "in LibTorch's operations" + (reason.empty() ? "" : ": " + reason)};
}

}  // namespace

OpsChoice choose_ops(c10::Device device) {
  // On a CPU a library is for tests alone, and named.
  const bool named = environment_variable(kKernelLibraryVariable).has_value();
  if (!device.is_cuda() && !(device.is_cpu() && named)) return aten_ops_because("");
  if (device.is_cuda()) {
    if (const std::string problem = load_cuda_backend(); !problem.empty()) {
      return aten_ops_because(problem);
    }
  }
  const LoadedKernels& kernels = kernel_library();
  if (kernels.library == nullptr) return aten_ops_because(kernels.problem);
  const bool for_cpu = kernels.library->memory == cuda::KernelMemory::cpu;
  if (for_cpu != device.is_cpu()) {
    return aten_ops_because(in_quotes(kernels.path) + " is for " +
                            (for_cpu ? "memory of a CPU" : "GPUs"));
  }
  return {std::make_shared<KernelOps>(kernels.library->launchers), true, "in its own kernels"};
}

}  // namespace w2vbert
