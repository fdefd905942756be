// Whether a file of a kind that libsndfile does not read is whole: libav passes over the end of one
// that was cut. Torch-free.
#pragma once

#include "audio/container.h"
#include "audio/container_bytes.h"

namespace w2vbert {

// Looks whether `bytes` are of such a kind, and sets what `view` says of it; false if not. What is
// said not to be there is damage; for a second file behind the first, throws AudioError.
bool examine_foreign_container(ContainerBytes& bytes, ContainerView& view);

}  // namespace w2vbert
