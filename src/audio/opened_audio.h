// Audio of a file that the caller has opened, and whose identity it knows. Torch-free.
#pragma once

#include <functional>

#include "core/file.h"
#include "w2vbert/audio/audio_file.h"

namespace w2vbert {

// As load_audio(), decode_audio() and count_channels() of the file's path.
Waveform load_audio(const InputFile& file, const AudioOptions& options,
                    const std::function<void()>& progress);
Waveform decode_audio(const InputFile& file, const AudioOptions& options,
                      const std::function<void()>& progress);
int count_channels(const InputFile& file, const AudioOptions& options);

}  // namespace w2vbert
