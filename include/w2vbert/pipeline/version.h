// Which w2vbert this is.
#pragma once

namespace w2vbert {

const char* library_version();

}  // namespace w2vbert
