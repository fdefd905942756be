#pragma once

namespace w2vbert {

// Loaded when it is made, and until the process ends. Throws AudioError where it cannot be loaded
// or lacks a function; `expected` is what it should have been.
class SharedLibrary {
 public:
  SharedLibrary(const char* name, const char* expected);

  template <class Function>
  Function find(const char* name) const {
    return reinterpret_cast<Function>(address_of(name));
  }

 private:
  void* address_of(const char* name) const;

  const char* name_;
  const char* expected_;
  void* handle_;
};

}  // namespace w2vbert
