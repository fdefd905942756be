// Which files are audio by their names. What a file is, its content tells (container.h); names
// decide what is worth opening.
#pragma once

#include <string_view>

namespace w2vbert {

// Whether `name` ends as files do that decode_audio reads: .wav, .flac, ..., in small or capital
// letters.
bool has_audio_name(std::string_view name);

}  // namespace w2vbert
