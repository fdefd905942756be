// A directory as a list of inputs.
#pragma once

#include <string>

#include "tool/corpus/input_list.h"

namespace w2vbert::tool {

// Appends the audio files in a directory and below it, in the order of their paths: all that has an
// audio file's name (audio/audio_names.h), in small or capital letters, and is no directory. So a
// link that leads nowhere fails as a file that is not there. Links to directories are followed, and
// each directory is entered once, where it is rather than by a link. Hidden names are passed over.
// What is passed over is a note of `inputs`, by ending and count; a directory below that cannot be
// listed is a bad row. Throws UsageError: `path` cannot be listed, no audio file in it.
void read_audio_directory(const std::string& path, InputList& inputs);

}  // namespace w2vbert::tool
