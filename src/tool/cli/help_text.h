// Help as CLI11 makes it, with lines that fit.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace w2vbert::tool {

// `help` with its lines broken at blanks to `width` characters. What stands behind an option goes
// on below its beginning; lines that are paragraphs are filled; examples, which begin with blanks,
// stay.
std::string fitted(std::string_view help, std::size_t width);

}  // namespace w2vbert::tool
