#include "engine/device/kernel_library.h"

#include <dlfcn.h>
#include <unistd.h>

#include <cstdint>
#include <exception>
#include <vector>

#include "core/environment.h"
#include "core/file.h"
#include "core/resolved_path.h"
#include "core/stable_hash.h"
#include "core/text.h"
#include "w2vbert/core/error.h"
#include "w2vbert/version.h"

namespace w2vbert {
namespace {

constexpr const char* kLibraryName = "libw2vbert_cuda.so";
constexpr std::uint64_t kMaxLibraryBytes = std::uint64_t{1} << 30;

// In the folders of the program and of the file that holds this function, and where an installed
// program has its libraries.
std::vector<std::string> library_paths() {
  if (const auto named = environment_variable(kKernelLibraryVariable)) return {*named};
  std::vector<std::string> paths;
  const auto add = [&](const std::string& file) {
    const std::string folder(directory_prefix(file));
    if (folder.empty()) return;
    paths.push_back(folder + kLibraryName);
    paths.push_back(folder + W2VBERT_LIBRARIES_FROM_PROGRAMS "/" + kLibraryName);
  };
  add(resolved_path("/proc/self/exe"));
  Dl_info info{};
  if (::dladdr(reinterpret_cast<const void*>(&load_kernel_library), &info) != 0 &&
      info.dli_fname != nullptr) {
    add(resolved_path(info.dli_fname));
  }
  return paths;
}

std::string digest_of(const std::string& path) {
  return stable_hash_text(read_small_file<StorageError>(path, kMaxLibraryBytes));
}

std::string loader_error() {
  const char* reason = ::dlerror();
  return reason == nullptr ? "no reason given" : reason;
}

}  // namespace

LoadedKernels load_kernel_library(const std::string& named) {
  LoadedKernels kernels;
  // One file for the digest and the loader, which would look for a name without a slash elsewhere.
  const std::string resolved = resolved_path(named);
  const std::string path = resolved.empty() ? named : resolved;
  kernels.path = path;
  try {
    kernels.digest = digest_of(path);
  } catch (const std::exception& error) {
    kernels.problem = in_quotes(path) + ": " + error.what();
    return kernels;
  }
  void* const handle = ::dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (handle == nullptr) {
    kernels.problem = "does not load: " + loader_error();
    return kernels;
  }
  const auto table =
      reinterpret_cast<cuda::KernelLibraryFunction>(::dlsym(handle, cuda::kKernelLibraryFunction));
  if (table == nullptr) {
    kernels.problem = in_quotes(path) + ": is not a library of kernels: " + loader_error();
    return kernels;
  }
  const cuda::KernelLibrary* const library = table();
  if (library->interface != cuda::kLibraryInterface) {
    kernels.problem = in_quotes(path) + ": its interface is " + std::to_string(library->interface) +
                      ", expected " + std::to_string(cuda::kLibraryInterface) +
                      ": it is of another w2vbert";
  } else if (library->version != std::string(version())) {
    kernels.problem =
        in_quotes(path) + ": is of w2vbert " + library->version + ", expected " + version();
  } else {
    kernels.library = library;
  }
  return kernels;
}

const LoadedKernels& kernel_library() {
  static const LoadedKernels kernels = [] {
    for (const std::string& path : library_paths()) {
      if (::access(path.c_str(), F_OK) == 0) return load_kernel_library(path);
    }
    LoadedKernels none;
    none.problem = std::string(kLibraryName) +
                   " is not there (a build with W2VBERT_BUILD_CUDA has it beside the program)";
    return none;
  }();
  return kernels;
}

}  // namespace w2vbert
