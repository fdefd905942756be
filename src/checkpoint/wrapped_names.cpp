#include "checkpoint/wrapped_names.h"

#include <algorithm>

namespace w2vbert {
namespace {

constexpr std::string_view kWrapperParts[] = {"_orig_mod", "_fsdp_wrapped_module",
                                              "_checkpoint_wrapped_module"};

}  // namespace

std::string without_wrappers(std::string_view name) {
  std::string kept;
  for (std::size_t at = 0; at <= name.size();) {
    const std::size_t end = std::min(name.find('.', at), name.size());
    const std::string_view part = name.substr(at, end - at);
    if (std::find(std::begin(kWrapperParts), std::end(kWrapperParts), part) ==
        std::end(kWrapperParts)) {
      kept += part;
      if (end < name.size()) kept += '.';
    }
    at = end + 1;
  }
  return kept;
}

std::string with_dot(const std::string& prefix) {
  return prefix.empty() || prefix.ends_with('.') ? prefix : prefix + ".";
}

std::size_t find_base(std::string_view prefix, std::string_view base) {
  if (base.empty()) return std::string_view::npos;
  for (std::size_t at = prefix.find(base); at != std::string_view::npos;
       at = prefix.find(base, at + 1)) {
    if (at == 0 || prefix[at - 1] == '.') return at;
  }
  return std::string_view::npos;
}

}  // namespace w2vbert
