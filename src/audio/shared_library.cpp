#include "audio/shared_library.h"

#include <dlfcn.h>

#include <string>

#include "w2vbert/core/error.h"

namespace w2vbert {
namespace {

[[noreturn]] void throw_loader_error(const char* library) {
  const char* reason = ::dlerror();
  throw AudioError(
      library, "",
      std::string("cannot be loaded: ") + (reason ? reason : "the reason is not known"),
      "FFmpeg's shared libraries of the version that w2vbert was compiled with");
}

}  // namespace

SharedLibrary::SharedLibrary(const char* name)
    : name_(name), handle_(::dlopen(name, RTLD_NOW | RTLD_LOCAL)) {
  if (!handle_) throw_loader_error(name);
}

void* SharedLibrary::address_of(const char* name) const {
  void* address = ::dlsym(handle_, name);
  if (!address) throw_loader_error(name_);
  return address;
}

}  // namespace w2vbert
