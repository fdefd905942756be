// What tells two models apart: every byte of them.
#pragma once

#include <string>
#include <vector>

namespace w2vbert::tool {

// SHA-256 over a model's config files, and over the header and the XXH3-128 of each block of 16 MiB
// of its weight files, which as many threads read as LibTorch has. A weight file's digest is kept
// in ~/.cache/w2vbert/digests (or $XDG_CACHE_HOME's) and valid as long as the file's inode, size
// and times stay what they are; without such a place it is computed each time. Throws ConfigError,
// CheckpointError.
std::string model_identity(const std::string& model_directory,
                           const std::vector<std::string>& weight_files);

// The same of a PEFT adapter, a directory or a Hub id. Throws also for one that cannot be merged
// into any model.
std::string lora_identity(const std::string& path_or_id);

}  // namespace w2vbert::tool
