#include "audio/audio_names.h"

#include <algorithm>
#include <array>
#include <string>

#include "audio/decoder.h"
#include "core/text.h"

namespace w2vbert {
namespace {

constexpr std::array<std::string_view, 16> kEndings = {
    ".wav", ".flac", ".ogg",  ".oga", ".opus", ".mp3", ".mp2",  ".mp1",
    ".aif", ".aiff", ".aifc", ".au",  ".caf",  ".w64", ".rf64", ".sph"};
// What libav reads, where it is built in.
constexpr std::array<std::string_view, 13> kLibavEndings = {
    ".m4a", ".m4b", ".mp4", ".aac",  ".webm", ".mka", ".mkv",
    ".wma", ".amr", ".ac3", ".eac3", ".3gp",  ".wv"};

}  // namespace

bool has_audio_name(std::string_view name) {
  // The name before the ending may be no UTF-8, which lower_case() leaves as it is.
  const std::size_t dot = name.rfind('.');
  if (dot == std::string_view::npos) return false;
  const std::string ending = lower_case(name.substr(dot));
  const auto holds = [&](const auto& endings) {
    return std::find(endings.begin(), endings.end(), ending) != endings.end();
  };
  return holds(kEndings) || (is_built_with_libav() && holds(kLibavEndings));
}

}  // namespace w2vbert
