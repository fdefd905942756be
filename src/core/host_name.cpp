#include "core/host_name.h"

#include <sys/stat.h>

#include <cstdio>
#include <fstream>
#include <utility>

#include "core/text.h"

namespace w2vbert {
namespace {

Kernel read_kernel() {
  std::string boot_id;
  std::ifstream("/proc/sys/kernel/random/boot_id") >> boot_id;
  boot_id.resize(Kernel::kDigits, '0');
  if (boot_id.find_first_not_of(kHexDigits) != std::string::npos)
    boot_id.assign(boot_id.size(), '0');
  struct stat status {};
  const bool known = ::stat("/proc/self/ns/pid", &status) == 0;
  std::array<char, Kernel::kDigits + 1> digits{};
  std::snprintf(digits.data(), digits.size(), "%08x",
                known ? static_cast<unsigned>(status.st_ino) : 0U);
  return {std::move(boot_id), digits.data()};
}

}  // namespace

const Kernel& this_kernel() {
  static const Kernel known = read_kernel();
  return known;
}

}  // namespace w2vbert
