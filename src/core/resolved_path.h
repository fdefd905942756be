// Where a path leads. Torch-free.
#pragma once

#include <string>
#include <string_view>

namespace w2vbert {

// `path` without links, "." and "..". Of a file that is not there: through the links of its folder;
// "" where that is not there either.
std::string resolved_path(const std::string& path);

// By its text alone: "/a/./b//../c" -> "/a/c". `path` is absolute.
std::string normalised_path(std::string_view path);

// The same of a path that may be relative to the working directory; "" where that is gone.
std::string absolute_path(const std::string& path);

}  // namespace w2vbert
