// The safetensors files that options name.
#pragma once

#include <string>

#include "w2vbert/checkpoint/checkpoint.h"

namespace w2vbert::tool {

// Opens the file of `setting`. Throws CheckpointError with the setting; for a pickle it says what
// is expected in its place.
Checkpoint open_checkpoint_of(const char* setting, const std::string& path,
                              const std::string& instead_of_pickle);

}  // namespace w2vbert::tool
