#include "w2vbert/core/device.h"

#include <ATen/detail/CUDAHooksInterface.h>
#include <c10/util/Exception.h>
#include <dlfcn.h>
#include <unistd.h>

#include <typeinfo>

#include "core/file.h"
#include "core/parse_number.h"
#include "core/text.h"
#include "w2vbert/core/error.h"

namespace w2vbert {
namespace {

// The directory of the LibTorch that this process runs on, with the slash.
std::string libtorch_directory() {
  Dl_info info{};
  // Any function of libtorch_cpu will do.
  if (::dladdr(reinterpret_cast<const void*>(&at::detail::getCUDAHooks), &info) == 0 ||
      info.dli_fname == nullptr) {
    return "";
  }
  return std::string(directory_prefix(info.dli_fname));
}

std::string first_line(const std::string& text) { return text.substr(0, text.find('\n')); }

std::string load() {
  const std::string library = libtorch_directory() + "libtorch_cuda.so";
  // RTLD_GLOBAL: LibTorch's other CUDA libraries find its symbols; it stays loaded until the end.
  if (::dlopen(library.c_str(), RTLD_NOW | RTLD_GLOBAL) == nullptr) {
    const char* reason = ::dlerror();
    if (::access(library.c_str(), F_OK) != 0) {
      return "this LibTorch is built without CUDA (" + library + " is not there)";
    }
    return std::string("LibTorch's CUDA library does not load: ") +
           (reason == nullptr ? "no reason given" : reason);
  }
  const at::CUDAHooksInterface& hooks = at::detail::getCUDAHooks();
  if (typeid(hooks) == typeid(at::CUDAHooksInterface)) {  // the stand-in of a CPU-only process
    return "LibTorch was asked about CUDA before its CUDA library was loaded, and remembers the no";
  }
  try {
    hooks.init();  // throws what is wrong with the driver; hasCUDA() only says that something is
  } catch (const c10::Error& error) {
    return first_line(error.what_without_backtrace());
  }
  if (hooks.getNumGPUs() == 0) return "no device is visible";
  return "";
}

}  // namespace

std::string load_cuda_backend() {
  // A device that is not there now does not appear later, and the hooks keep their first answer.
  static const std::string problem = load();
  return problem;
}

c10::Device parse_device(std::string_view text) {
  constexpr std::string_view kExpected = "cpu, cuda or cuda:N";
  const auto fail = [&](const std::string& problem, const std::string& expected) {
    throw UsageError("", "device", in_quotes(text) + ": " + problem, expected, "device");
  };
  if (text == "cpu") return c10::Device(c10::kCPU);
  int index = 0;
  if (text != "cuda") {
    constexpr std::string_view kPrefix = "cuda:";
    const std::string_view digits =
        text.starts_with(kPrefix) ? text.substr(kPrefix.size()) : std::string_view{};
    const auto number = parse_number<int>(digits);
    if (!number || digits[0] == '-') fail("is not known", std::string(kExpected));
    index = *number;
  }
  if (const std::string problem = load_cuda_backend(); !problem.empty()) {
    fail("no usable CUDA device: " + problem, "cpu");
  }
  const int devices = at::detail::getCUDAHooks().getNumGPUs();
  if (index >= devices) {
    fail("no usable CUDA device: there is no such device",
         devices == 1 ? "cuda:0" : "cuda:0 to cuda:" + std::to_string(devices - 1));
  }
  return c10::Device(c10::kCUDA, static_cast<c10::DeviceIndex>(index));
}

}  // namespace w2vbert
