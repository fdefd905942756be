// Stands for libav_decoder.cpp in a build without libav.
#include "audio/decoder.h"
#include "w2vbert/audio/audio_file.h"
#include "w2vbert/core/error.h"

namespace w2vbert {

bool is_built_with_libav() { return false; }

std::string libav_version() { return ""; }

std::unique_ptr<Decoder> open_libav(const InputFile& file, const ContainerView& view,
                                    std::function<void()>) {
  throw AudioError(file.path(), "",
                   "is " + view.name + ", which a build without libav does not decode",
                   convert_advice(false));
}

}  // namespace w2vbert
