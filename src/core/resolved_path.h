// Where a path leads. Torch-free.
#pragma once

#include <string>

namespace w2vbert {

// `path` without links, "." and "..". Of a file that is not there: through the links of its folder;
// "" where that is not there either.
std::string resolved_path(const std::string& path);

}  // namespace w2vbert
