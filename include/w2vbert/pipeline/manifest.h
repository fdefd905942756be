// Lists of inputs that come from a file.
#pragma once

#include <string>

#include "w2vbert/pipeline/input_list.h"

namespace w2vbert {

// Appends the audio paths of a plain list, one a line, to `inputs`. Blank lines are skipped; CRLF, a
// byte-order mark and a missing last line break are accepted; all other bytes belong to the path.
// Relative paths count from the manifest's folder, or from the working directory for "-", the
// standard input. The file is read in blocks. Throws UsageError: missing, a directory or no regular
// file, unreadable, empty, NUL bytes, a line over kMaxManifestLineBytes.
void read_manifest(const std::string& path, InputList& inputs);

inline constexpr std::size_t kMaxManifestLineBytes = 65536;

}  // namespace w2vbert
