// Places to write to, tried before there is anything to write.
#pragma once

#include <string>

namespace w2vbert::tool {

// Creates, writes, synchronises and removes a file in `directory`: what every output will need.
// Throws StorageError(directory).
void try_writing(const std::string& directory);

// `output` can be made or replaced: its directory is there and can be written, and it is no
// directory, device or the like (StorageError), nor `input` (UsageError).
void check_output_file(const std::string& output, const std::string& input);

}  // namespace w2vbert::tool
