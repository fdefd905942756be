// Text files line by line, in blocks.
#pragma once

#include <cstddef>
#include <functional>
#include <string>
#include <string_view>

namespace w2vbert::tool {

// Calls line(number from 1, bytes without the line break) for each line of a regular file, or of
// the standard input for "-". A byte-order mark, a carriage return before a line break and a
// missing last line break are accepted. `expected`: what the file should have been, for messages.
// Throws UsageError: missing, no regular file, unreadable, a line over `max_line_bytes`.
void read_lines(const std::string& path, std::size_t max_line_bytes, std::string_view expected,
                const std::function<void(std::size_t number, std::string_view bytes)>& line);

}  // namespace w2vbert::tool
