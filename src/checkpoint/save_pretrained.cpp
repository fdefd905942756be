#include "w2vbert/checkpoint/save_pretrained.h"

#include <ATen/ATen.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <cerrno>
#include <system_error>
#include <utility>
#include <vector>

#include "checkpoint/checkpoint_index.h"
#include "checkpoint/safetensors_writer.h"
#include "checkpoint/state_dict.h"
#include "config/config_table.h"
#include "core/directory_entries.h"
#include "core/dtype.h"
#include "core/durable_file.h"
#include "core/file.h"
#include "core/text.h"
#include "w2vbert/core/error.h"

namespace w2vbert {
namespace {

constexpr const char* kConfigFile = "config.json";
constexpr const char* kAdapterFile = "adapter_config.json";

// HF: model.__class__.__name__
std::string class_name_of(const torch::nn::Module& module) {
  constexpr std::string_view kImpl = "Impl";
  std::string name = module.name();
  if (const auto colon = name.rfind(':'); colon != std::string::npos) name.erase(0, colon + 1);
  if (name.size() > kImpl.size() && name.ends_with(kImpl)) name.resize(name.size() - kImpl.size());
  const bool is_name = !name.empty() && std::all_of(name.begin(), name.end(), [](unsigned char c) {
    return std::isalnum(c) != 0 || c == '_';
  });
  TORCH_CHECK_VALUE(is_name, "save_pretrained: ", quote_bytes(module.name()),
                    " is no name of a model class");
  return name;
}

// HF: model.dtype, that of the first floating parameter.
std::string dtype_name_of_module(const torch::nn::Module& module) {
  std::string dtype;
  for (const auto& item : module.named_parameters()) {
    const at::Tensor& parameter = item.value();
    TORCH_CHECK_VALUE(!parameter.is_meta(), "save_pretrained: ", item.key(),
                      " is on the meta device and has no values");
    const std::string name = dtype_name(parameter.scalar_type());
    TORCH_CHECK_VALUE(!name.empty(), "save_pretrained: ", item.key(), " has dtype ",
                      parameter.scalar_type(), ", expected float32, float16, bfloat16 or float64");
    if (dtype.empty()) dtype = name;
  }
  TORCH_CHECK_VALUE(!dtype.empty(), "save_pretrained: the module has no parameters");
  return dtype;
}

std::uint64_t parameter_count(const torch::nn::Module& module) {
  std::uint64_t count = 0;
  for (const at::Tensor& parameter : module.parameters()) {
    count += static_cast<std::uint64_t>(parameter.numel());
  }
  return count;
}

void remove_file(const std::string& path) {
  if (::unlink(path.c_str()) == 0 || errno == ENOENT) return;
  throw StorageError(path, "", "cannot be removed: " + std::generic_category().message(errno));
}

// Weights of an earlier save under names that this one does not use.
std::vector<std::string> stale_weights(const std::string& directory,
                                       const std::vector<StagedFile>& staged) {
  std::vector<std::string> stale;
  for_each_entry(directory, [&](const dirent& entry, DIR*) {
    const std::string name = entry.d_name;
    const bool ours =
        name == kCheckpointIndexFile || name == shard_file_name(0, 1) || is_shard_file_name(name);
    const std::string path = join_path(directory, name);
    const bool used = std::any_of(staged.begin(), staged.end(),
                                  [&](const StagedFile& file) { return file.path() == path; });
    if (ours && !used) stale.push_back(path);
  });
  return stale;
}

// The weight files and, with several, the index, ready beside their places.
std::vector<StagedFile> stage_weights(const torch::nn::Module& module, const std::string& directory,
                                      std::uint64_t max_shard_size) {
  const NamedTensors tensors = state_dict_of(module);
  std::vector<std::uint64_t> sizes;
  CheckpointIndex index;
  index.total_size = 0;
  index.total_parameters = parameter_count(module);
  for (const auto& [name, tensor] : tensors) {
    sizes.push_back(tensor.nbytes());
    *index.total_size += tensor.nbytes();
  }
  const auto shards = split_into_shards(sizes, max_shard_size);
  std::vector<StagedFile> staged;
  for (std::size_t i = 0; i < shards.size(); ++i) {
    const std::string file = shard_file_name(i, shards.size());
    NamedTensors of_shard;
    for (const std::size_t tensor : shards[i]) {
      of_shard.push_back(tensors[tensor]);
      index.weight_map[tensors[tensor].first] = file;
    }
    staged.push_back(stage_safetensors(join_path(directory, file), of_shard, {{"format", "pt"}}));
  }
  if (shards.size() > 1) {
    const std::string path = join_path(directory, kCheckpointIndexFile);
    staged.emplace_back(path, serialize_shard_index(index, path));
  }
  return staged;
}

bool holds_text(const std::string& path, const std::string& text) {
  struct stat status {};
  return ::stat(path.c_str(), &status) == 0 && S_ISREG(status.st_mode) &&
         static_cast<std::uint64_t>(status.st_size) == text.size() &&
         text.size() <= kMaxConfigBytes &&
         read_small_file<StorageError>(path, kMaxConfigBytes) == text;
}

}  // namespace

ShardSize::ShardSize(bool negative, std::uint64_t bytes) : bytes_(bytes) {
  TORCH_CHECK_VALUE(!negative, "max_shard_size is negative, expected a number of bytes");
}

ShardSize::ShardSize(std::string_view text) : bytes_(0) {
  const auto bytes = parse_shard_size(text);
  TORCH_CHECK_VALUE(bytes.has_value(), "max_shard_size is \"", quote_bytes(text),
                    "\", expected a number and KB, MB, GB or TB, such as \"5GB\"");
  bytes_ = *bytes;
}

void save_pretrained(const torch::nn::Module& module, const Wav2Vec2BertConfig& config,
                     const std::string& directory, const SavePretrainedOptions& options) {
  const at::NoGradGuard no_grad;
  Wav2Vec2BertConfig saved = config;
  saved.architectures = {class_name_of(module)};
  saved.dtype = dtype_name_of_module(module);
  const std::string config_text = saved.to_json();
  const std::string config_path = join_path(directory, kConfigFile);

  make_directories(directory);
  if (exists(join_path(directory, kAdapterFile))) {
    throw StorageError(join_path(directory, kAdapterFile), "",
                       "is in the directory: transformers would load that adapter with the model",
                       "a directory of its own for the model");
  }
  remove_stale_temporaries(directory);
  StagedFile new_config(config_path, config_text);
  std::vector<StagedFile> weights =
      stage_weights(module, directory, options.max_shard_size.bytes());
  const std::vector<std::string> stale = stale_weights(directory, weights);

  // One file beside the same config: the old weights, or the new ones, which go before any index.
  const bool in_one_step = weights.size() == 1 && holds_text(config_path, config_text);
  if (!in_one_step) {
    remove_file(config_path);
    synchronise_directory(directory);
  }
  for (StagedFile& file : weights) file.put_in_place();
  // Before files go that an index of the old weights may name, the new ones must be there for good.
  synchronise_directory(directory);
  for (const std::string& path : stale) remove_file(path);
  synchronise_directory(directory);
  new_config.put_in_place();
  synchronise_directory(directory);
}

}  // namespace w2vbert
