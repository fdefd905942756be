#include "w2vbert/config/hf_version.h"

#include "core/parse_number.h"

namespace w2vbert {
namespace {

constexpr std::string_view kMajor = "5.";

}  // namespace

std::string name_of(HfVersion version) {
  return std::string(kMajor) + std::to_string(static_cast<int>(version));
}

std::optional<HfVersion> hf_version_of(std::string_view name) {
  if (!name.starts_with(kMajor)) return std::nullopt;
  name.remove_prefix(kMajor.size());
  const std::string_view minor_text = name.substr(0, name.find('.'));
  if (minor_text.size() < name.size()) {
    const auto patch = parse_number<int>(name.substr(minor_text.size() + 1));
    if (!patch || *patch < 0) return std::nullopt;
  }
  const auto minor = parse_number<int>(minor_text);
  if (!minor || *minor < static_cast<int>(kOldestHfVersion) ||
      *minor > static_cast<int>(kNewestHfVersion) || std::to_string(*minor) != minor_text) {
    return std::nullopt;
  }
  return static_cast<HfVersion>(*minor);
}

}  // namespace w2vbert
