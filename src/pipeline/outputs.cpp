#include "outputs.h"

#include "clip_files.h"
#include "shard_files.h"

namespace w2vbert {

std::unique_ptr<Outputs> make_outputs(const InputList& inputs, const ClipRunRequest& request,
                                      RunDirectory& directory) {
  if (directory.shard_size() > 0) return std::make_unique<ShardFiles>(inputs, request, directory);
  return std::make_unique<ClipFiles>(inputs, request, directory);
}

}  // namespace w2vbert
