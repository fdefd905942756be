#include "tool/store/outputs.h"

#include "tool/store/clip_files.h"
#include "tool/store/output_shards.h"

namespace w2vbert::tool {

std::unique_ptr<Outputs> make_outputs(const InputList& inputs, const OutputContent& content,
                                      RunDirectory& directory) {
  if (directory.shard_size() > 0) return std::make_unique<OutputShards>(inputs, content, directory);
  return std::make_unique<ClipFiles>(inputs, content, directory);
}

}  // namespace w2vbert::tool
