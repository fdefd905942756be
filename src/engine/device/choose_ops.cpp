#include "engine/device/choose_ops.h"

#include <c10/util/Exception.h>

#include <array>
#include <exception>
#include <fstream>
#include <map>
#include <mutex>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "core/environment.h"
#include "core/text.h"
#include "engine/device/aten_ops.h"
#include "engine/device/kernel_ops.h"
#include "w2vbert/core/device.h"

namespace w2vbert {
namespace {

OpsChoice aten_ops_because(const std::string& reason) {
  return {std::make_shared<AtenOps>(), false,
          "in LibTorch's operations" + (reason.empty() ? "" : ": " + reason)};
}

// The kernel module's version: CUDA tells of a driver only which CUDA it is for. "" where there is
// not one.
std::string driver_version() {
  std::ifstream file("/proc/driver/nvidia/version");
  std::string line;
  std::getline(file, line);
  return line;
}

std::string first_line_of(const std::string& text) { return text.substr(0, text.find('\n')); }

}  // namespace

OpsChoice choose_ops(const LoadedKernels& kernels, const KernelSizes& sizes, c10::Device device,
                     const std::string& folder) {
  if (kernels.library == nullptr) return aten_ops_because(kernels.problem);
  const bool for_cpu = kernels.library->memory == cuda::KernelMemory::cpu;
  if (for_cpu != device.is_cpu()) {
    return aten_ops_because(in_quotes(kernels.path) + " is for " +
                            (for_cpu ? "memory of a CPU" : "GPUs"));
  }
  std::array<char, 400> name{};
  if (const char* problem =
          kernels.library->describe_device(device.index(), name.data(), name.size())) {
    return aten_ops_because(std::string("the device cannot be asked for its name: ") + problem);
  }
  const std::string described = name.data();
  const auto ops = std::make_shared<KernelOps>(kernels.library->launchers);
  const KernelRecord record("device: " + described + "\ndriver: " + driver_version() +
                                "\nlibrary: " + kernels.digest + " of " + kernels.library->version +
                                "\nmodel: " + sizes.text() + "\n",
                            folder);
  std::optional<std::vector<std::string>> differences = record.read();
  if (!differences) {
    // A kernel that faults takes the process's use of the GPU with it: the next process must not
    // try again.
    record.write({"the check did not end (remove " + record.path() + " to have it made again)"});
    try {
      differences = check_kernels(*ops, sizes, device);
    } catch (const c10::AcceleratorError&) {
      throw;
    } catch (const std::exception& error) {  // not remembered: memory may have been short
      record.remove();
      return aten_ops_because("the check of its own kernels on " + described +
                              " failed: " + first_line_of(error.what()));
    }
    if (ops->launches() == 0) {  // what fell back agrees with itself
      record.remove();
      return aten_ops_because("none of its own kernels runs on " + described + ": " +
                              first_line_of(ops->unsupported_reason()));
    }
    record.write(*differences);
  }
  if (differences->empty()) return {ops, true, "in its own kernels, checked on " + described};
  return aten_ops_because("its own kernels (" + kernels.digest + ") differ from them on " +
                          described + ", please report this line: " + differences->front() +
                          (differences->size() == 1
                               ? ""
                               : ", and " + std::to_string(differences->size() - 1) + " more"));
}

OpsChoice choose_ops(const Wav2Vec2BertConfig& config, c10::Device device, c10::ScalarType dtype) {
  // On a CPU a library is for tests alone, and named.
  const bool named = environment_variable(kKernelLibraryVariable).has_value();
  if (!device.is_cuda() && !(device.is_cpu() && named)) return aten_ops_because("");
  if (device.is_cuda()) {
    if (const std::string problem = load_cuda_backend(); !problem.empty()) {
      return aten_ops_because(problem);
    }
    if (!device.has_index()) device.set_index(0);  // what "cuda" names
  }
  const KernelSizes sizes = kernel_sizes(config, dtype);
  static std::mutex mutex;
  static std::map<std::string, OpsChoice> remembered;
  const std::lock_guard lock(mutex);
  const std::string key = device.str() + " " + sizes.text();
  auto found = remembered.find(key);
  if (found == remembered.end()) {
    found =
        remembered.emplace(key, choose_ops(kernel_library(), sizes, device, kernel_record_folder()))
            .first;
  }
  return found->second;
}

}  // namespace w2vbert
