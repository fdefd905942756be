#include "audio/shared_library.h"

#include <dlfcn.h>

#include <string>

#include "w2vbert/core/error.h"

namespace w2vbert {
namespace {

[[noreturn]] void throw_loader_error(const char* library, const char* expected) {
  const char* reason = ::dlerror();
  throw AudioError(
      library, "",
      std::string("cannot be loaded: ") + (reason ? reason : "the reason is not known"), expected);
}

}  // namespace

SharedLibrary::SharedLibrary(const char* name, const char* expected)
    : name_(name), expected_(expected), handle_(::dlopen(name, RTLD_NOW | RTLD_LOCAL)) {
  if (!handle_) throw_loader_error(name, expected);
}

void* SharedLibrary::address_of(const char* name) const {
  void* address = ::dlsym(handle_, name);
  if (!address) throw_loader_error(name_, expected_);
  return address;
}

}  // namespace w2vbert
