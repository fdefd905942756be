#include "checkpoint/missing_weights.h"

#include <filesystem>
#include <string_view>
#include <system_error>

#include "checkpoint/checkpoint_index.h"
#include "checkpoint/hub_cache.h"
#include "core/file.h"
#include "w2vbert/core/error.h"

namespace w2vbert {
namespace {

// Each in the directory itself; of the class that config.json names, so that no head is lost.
constexpr std::string_view kConvertModel =
    R"py(python3 -c "import transformers as t; c = t.AutoConfig.from_pretrained('.'); )py"
    R"py(getattr(t, c.architectures[0]).from_pretrained('.').save_pretrained('.')")py";
constexpr std::string_view kConvertAdapter =
    R"py(python3 -c "import torch; from safetensors.torch import save_file as s; )py"
    R"py(t = torch.load('adapter_model.bin', 'cpu', weights_only=True); )py"
    R"py(s({k: v.clone() for k, v in t.items()}, 'adapter_model.safetensors')")py";

std::string or_download(const std::string& expected, const std::string& directory) {
  const std::string command = download_command_of(directory);
  return command.empty() ? expected : expected + "; to fetch it: " + command;
}

[[noreturn]] void fail_for_pickle(const std::string& path, std::string_view wanted,
                                  std::string_view command) {
  throw CheckpointError(
      path, "", "is a pickle, which is never read",
      std::string(wanted) + "; in that directory, this converts it: " + std::string(command));
}

[[noreturn]] void fail_for_nothing(const std::string& directory, const std::string& wanted) {
  throw CheckpointError(directory, "",
                        has_unfinished_download(directory)
                            ? "holds no weights: its download is not complete"
                            : "holds no weights",
                        or_download(wanted, directory));
}

}  // namespace

void check_link(const std::string& path) {
  std::error_code error;
  if (exists<CheckpointError>(path) || !std::filesystem::is_symlink(path, error)) return;
  const std::string directory = parent_path(path);
  const bool in_cache = !download_command_of(directory).empty();
  throw CheckpointError(path, "",
                        in_cache ? "is a link to a blob that is not there: its download is not "
                                   "complete"
                                 : "is a link to a file that is not there",
                        or_download("the file", directory));
}

void check_weights(const std::string& directory) {
  const std::string single = join_path(directory, kCheckpointFile);
  check_link(single);
  if (exists<CheckpointError>(single)) return;
  const std::string index = join_path(directory, kCheckpointIndexFile);
  check_link(index);
  if (exists<CheckpointError>(index)) {
    const std::string text = read_small_file<CheckpointError>(index, kMaxCheckpointIndexBytes);
    for (const auto& [tensor, shard] : parse_checkpoint_index(text, index).weight_map) {
      const std::string path = join_path(directory, shard);
      check_link(path);
      if (exists<CheckpointError>(path) || download_command_of(directory).empty()) continue;
      throw CheckpointError(path, "", "is not there: its download is not complete",
                            or_download("the shard that the index names", directory));
    }
    return;
  }
  for (const char* const name : {"pytorch_model.bin", "pytorch_model.bin.index.json"}) {
    const std::string pickle = join_path(directory, name);
    if (exists<CheckpointError>(pickle)) fail_for_pickle(pickle, kCheckpointFile, kConvertModel);
  }
  fail_for_nothing(directory,
                   std::string(kCheckpointFile) + " or " + std::string(kCheckpointIndexFile));
}

void check_adapter_weights(const std::string& directory) {
  const std::string weights = join_path(directory, kLoraWeightsFile);
  check_link(weights);
  if (exists<CheckpointError>(weights)) return;
  const std::string pickle = join_path(directory, "adapter_model.bin");
  if (exists<CheckpointError>(pickle)) fail_for_pickle(pickle, kLoraWeightsFile, kConvertAdapter);
  throw CheckpointError(
      directory, "",
      "has no " + std::string(kLoraWeightsFile) +
          (has_unfinished_download(directory) ? ": its download is not complete" : ""),
      or_download("the directory of a PEFT adapter", directory));
}

}  // namespace w2vbert
