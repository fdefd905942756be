#include "w2vbert/version.h"

#define W2VBERT_TEXT_OF(number) #number
#define W2VBERT_DOTTED(major, minor, patch) \
  W2VBERT_TEXT_OF(major) "." W2VBERT_TEXT_OF(minor) "." W2VBERT_TEXT_OF(patch)

namespace w2vbert {

const char* version() {
  return W2VBERT_DOTTED(W2VBERT_VERSION_MAJOR, W2VBERT_VERSION_MINOR, W2VBERT_VERSION_PATCH);
}

}  // namespace w2vbert
