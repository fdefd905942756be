#include "tool/store/stored_shard.h"

#include <utility>

#include "core/json.h"
#include "w2vbert/core/error.h"

namespace w2vbert::tool {

StoredShard::StoredShard(const std::string& path)
    : file(InputFile::open<UsageError, StorageError>(path)) {
  header = parse_safetensors_header(read_safetensors_head(file), file.size(), path);
  for (const HeaderTensor& tensor : header.tensors) tensors.emplace(tensor.name, &tensor);
  index = header.metadata_value(kIndexKey);
  try {
    for (IndexedClip& clip : parse_index(index)) {
      std::string name = clip.name;
      clips.emplace(std::move(name), std::move(clip));
    }
  } catch (const JsonError& error) {
    throw UsageError(path, kIndexKey, error.what(), "an index of clips");
  }
}

}  // namespace w2vbert::tool
