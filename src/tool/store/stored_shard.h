// A shard as it lies in a run's directory.
#pragma once

#include <map>
#include <string>
#include <string_view>

#include "checkpoint/safetensors_header.h"
#include "core/file.h"
#include "tool/store/clip_index.h"

namespace w2vbert::tool {

struct StoredShard {
  // Reads the header. Throws UsageError, CheckpointError for a file that is no shard, StorageError
  // for one that cannot be read.
  explicit StoredShard(const std::string& path);
  StoredShard(const StoredShard&) = delete;  // `tensors` points into `header`
  StoredShard& operator=(const StoredShard&) = delete;

  InputFile file;
  SafetensorsHeader header;
  std::string index;
  std::map<std::string, IndexedClip> clips;  // of the index, by name
  std::map<std::string_view, const HeaderTensor*> tensors;
};

}  // namespace w2vbert::tool
