#include "tool/tasks/option_checkpoint.h"

#include "checkpoint/safetensors_header.h"
#include "core/file.h"
#include "w2vbert/core/error.h"

namespace w2vbert::tool {

Checkpoint open_checkpoint_of(const char* setting, const std::string& path,
                              const std::string& instead_of_pickle) {
  if (!is_directory<CheckpointError>(path) && is_pickle(InputFile::open<CheckpointError>(path))) {
    throw CheckpointError(path, "", "is a pickle (PyTorch .pt), which is never read",
                          instead_of_pickle, setting);
  }
  try {
    return Checkpoint::open(path);
  } catch (const CheckpointError& error) {
    throw CheckpointError("", "", error.what(), "", setting);
  }
}

}  // namespace w2vbert::tool
