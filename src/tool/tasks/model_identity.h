// What tells two models apart: every byte of them.
#pragma once

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "core/file.h"

namespace w2vbert::tool {

// The files that a model is read from: once for its identity and once for its weights. In between
// they must stay what they are.
class WatchedFiles {
 public:
  void add_model(const std::string& model_directory, const std::vector<std::string>& weight_files);
  void add_lora(const std::string& directory);
  void add(const std::string& path);

  // Throws CheckpointError for a file that is not the one that it was when it was added.
  void check() const;

 private:
  std::vector<std::pair<std::string, std::optional<FileIdentity>>> files_;  // or nothing there
};

// SHA-256 over a model's config files, and over the header and the XXH3-128 of each block of 16 MiB
// of its weight files, which as many threads read as LibTorch has. A weight file's digest is kept
// in ~/.cache/w2vbert/digests (or $XDG_CACHE_HOME's) and valid as long as the file's inode, size
// and times stay what they are; without such a place it is computed each time. Throws ConfigError,
// CheckpointError, and StorageError for what cannot be read.
std::string model_identity(const std::string& model_directory,
                           const std::vector<std::string>& weight_files);

// SHA-256 over the digests, kept as those are, of other files that a run reads, with nothing for
// one that is not there. Throws ConfigError, StorageError.
std::string files_identity(const std::vector<std::string>& paths);

// The same of a PEFT adapter, a directory or a Hub id. Throws also for one that cannot be merged
// into any model.
std::string lora_identity(const std::string& path_or_id);

}  // namespace w2vbert::tool
