#include "w2vbert/pipeline/version.h"

namespace w2vbert {

const char* library_version() { return W2VBERT_VERSION; }

}  // namespace w2vbert
