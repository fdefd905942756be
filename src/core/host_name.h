// The machine, and what a process's number counts in: as journals and temporary files name them.
#pragma once

#include <unistd.h>

#include <array>
#include <cstddef>
#include <string>

namespace w2vbert {

// As gethostname() gives it, or "unknown".
inline std::string host_name() {
  std::array<char, 256> name{};
  return ::gethostname(name.data(), name.size() - 1) == 0 ? name.data() : "unknown";
}

// Processes of one kernel and one namespace have numbers of their own. 8 hexadecimal digits each:
// the begin of the boot id, and the namespace that this process's number is of; zeros where the
// system does not tell.
struct Kernel {
  static constexpr std::size_t kDigits = 8;
  std::string boot;
  std::string pid_namespace;
};
const Kernel& this_kernel();

}  // namespace w2vbert
