// Clips of audio to feed a model with.
#pragma once

#include <string>

#include "support/namespaces.h"

namespace w2vbert::testing {

// A 16-bit PCM file with `samples` samples a channel; the noise differs from seed to seed.
void write_clip(const std::string& path, int samples, int seed = 0, int rate = 16000,
                int channels = 1);

}  // namespace w2vbert::testing
