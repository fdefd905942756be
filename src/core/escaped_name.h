// Names of files, which are any bytes, in records that are UTF-8. Torch-free.
#pragma once

#include <string>
#include <string_view>

namespace w2vbert {

// UTF-8 stays as it is; a byte that is not becomes \xNN, and so does a backslash that would be read
// as the begin of that. No two names give the same text.
std::string escaped_name(std::string_view name);
// The name again. A text that was not escaped, but for such backslashes, is returned as it is.
std::string unescaped_name(std::string_view text);

}  // namespace w2vbert
