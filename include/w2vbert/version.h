// Which w2vbert this is. CMakeLists.txt reads the three numbers from here.
#pragma once

#define W2VBERT_VERSION_MAJOR 0
#define W2VBERT_VERSION_MINOR 1
#define W2VBERT_VERSION_PATCH 0

namespace w2vbert {

/// The version of the library that is linked, "0.1.0"; the macros are those of the headers that
/// were compiled against.
const char* version();

}  // namespace w2vbert
