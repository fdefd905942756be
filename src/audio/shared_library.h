#pragma once

namespace w2vbert {

// Loaded when it is made, and until the process ends. Throws AudioError where it cannot be loaded
// or lacks a function.
class SharedLibrary {
 public:
  explicit SharedLibrary(const char* name);

  template <class Function>
  Function find(const char* name) const {
    return reinterpret_cast<Function>(address_of(name));
  }

 private:
  void* address_of(const char* name) const;

  const char* name_;
  void* handle_;
};

}  // namespace w2vbert
