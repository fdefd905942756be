#include "audio/libav.h"

#include <string>

#include "audio/decoder.h"
#include "w2vbert/audio/audio_file.h"

namespace w2vbert {

const Libav& libav() {
  static const Libav functions;
  return functions;
}

bool is_built_with_libav() { return true; }

std::string libav_version() { return libav().av_version_info(); }

}  // namespace w2vbert
