// WAV files in Kaldi's archives. Torch-free.
#pragma once

#include <cstdint>
#include <string>

#include "core/file.h"

namespace w2vbert::tool {

// How many bytes the WAV file has that begins at `begin` of an archive, up to the end of its audio,
// which its data chunk tells: another entry may follow. `path` is what errors call it. Throws
// AudioError: no RIFF or RIFX file there, one that does not say how long it is, one whose end the
// archive does not have.
std::uint64_t wav_entry_bytes(const InputFile& archive, std::uint64_t begin,
                              const std::string& path);

}  // namespace w2vbert::tool
