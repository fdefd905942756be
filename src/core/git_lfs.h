// What stands in the place of a large file where Git LFS has not fetched it.
#pragma once

#include <string_view>

namespace w2vbert {

inline constexpr std::string_view kGitLfsPointer = "version https://git-lfs";
inline constexpr const char* kGitLfsProblem =
    "is a Git LFS pointer, not the file itself: run git lfs pull";

}  // namespace w2vbert
