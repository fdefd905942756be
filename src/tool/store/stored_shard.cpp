#include "tool/store/stored_shard.h"

#include <sys/stat.h>

#include <utility>

#include "core/json.h"
#include "tool/store/clip_index.h"
#include "w2vbert/core/error.h"

namespace w2vbert::tool {

StoredShard::StoredShard(const std::string& path) : file(InputFile::open<UsageError>(path)) {
  header = parse_safetensors_header(read_safetensors_head(file), file.size(), path);
  for (const HeaderTensor& tensor : header.tensors) tensors.emplace(tensor.name, &tensor);
  index = header.metadata_value(kIndexKey);
  try {
    for (IndexedClip& clip : parse_index(index)) {
      lines.emplace(std::move(clip.name), std::move(clip.line));
    }
  } catch (const JsonError& error) {
    throw UsageError(path, std::string(kIndexKey), error.what(), "an index of clips");
  }
}

bool StoredShard::is_in_place() const {
  struct stat there {};
  struct stat opened {};
  return ::stat(file.path().c_str(), &there) == 0 && ::fstat(file.descriptor(), &opened) == 0 &&
         there.st_dev == opened.st_dev && there.st_ino == opened.st_ino;
}

}  // namespace w2vbert::tool
