#include "audio/audio_names.h"

#include <algorithm>
#include <array>
#include <string>

#include "core/text.h"

namespace w2vbert {
namespace {

constexpr std::array<std::string_view, 13> kEndings = {".wav", ".flac", ".ogg",  ".oga",  ".opus",
                                                       ".mp3", ".aif",  ".aiff", ".aifc", ".au",
                                                       ".caf", ".w64",  ".rf64"};

}  // namespace

bool has_audio_name(std::string_view name) {
  // The name before the ending may be no UTF-8, which lower_case() leaves as it is.
  const std::size_t dot = name.rfind('.');
  if (dot == std::string_view::npos) return false;
  const std::string ending = lower_case(name.substr(dot));
  return std::find(kEndings.begin(), kEndings.end(), ending) != kEndings.end();
}

}  // namespace w2vbert
