// model.safetensors.index.json: which shard holds which tensor, and how tensors are shared out.
// Torch-free.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace w2vbert {

// Where a model directory has its weights: in the file, or in the shards that the index names.
inline constexpr std::string_view kCheckpointFile = "model.safetensors";
inline constexpr std::string_view kCheckpointIndexFile = "model.safetensors.index.json";
constexpr std::uint64_t kMaxCheckpointIndexBytes = 100'000'000;

struct CheckpointIndex {
  // tensor name -> file name in the same directory
  std::map<std::string, std::string, std::less<>> weight_map;
  std::optional<std::uint64_t> total_size;        // metadata.total_size, bytes of tensor data
  std::optional<std::uint64_t> total_parameters;  // metadata.total_parameters
};

// Throws CheckpointError naming `path` and the tensor. A file name is judged by its text, not by
// where it leads: no separators, no "..", not `path` itself.
CheckpointIndex parse_checkpoint_index(std::string_view text, const std::string& path);

// The text of the file as HF's save_pretrained writes it. Throws CheckpointError(path) for a name
// that is not UTF-8.
std::string serialize_shard_index(const CheckpointIndex& index, const std::string& path);

// HF: huggingface_hub/serialization/_base.py, split_state_dict_into_shards_factory. `sizes`: bytes
// of each tensor -> the tensors of each shard, by their number. Tensors fill one shard after
// another up to `max_shard_size` bytes; a larger one has a shard of its own, which comes before the
// one that is being filled.
std::vector<std::vector<std::size_t>> split_into_shards(std::span<const std::uint64_t> sizes,
                                                        std::uint64_t max_shard_size);

// "model-00001-of-00003.safetensors" for the first (0) of three; of one it is "model.safetensors".
std::string shard_file_name(std::size_t shard, std::size_t shards);
// Whether the name is one that shard_file_name gives to one of several.
bool is_shard_file_name(std::string_view name);

// HF: huggingface_hub/serialization/_base.py, parse_size_to_int. "5GB", " 1.5 mb": a number and KB,
// MB, GB or TB, which are powers of 1000 -> bytes, rounded down. Nothing for another text, and for
// what is no size: negative, not finite, 2^63 and more.
std::optional<std::uint64_t> parse_shard_size(std::string_view text);

}  // namespace w2vbert
