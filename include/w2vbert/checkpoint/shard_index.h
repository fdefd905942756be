// model.safetensors.index.json: which shard holds which tensor. Torch-free.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>

namespace w2vbert {

constexpr std::uint64_t kMaxShardIndexBytes = 100'000'000;

struct ShardIndex {
  std::map<std::string, std::string> weight_map;  // tensor name -> file name in the same directory
  std::optional<std::uint64_t> total_size;        // metadata.total_size, bytes of tensor data
};

// Throws CheckpointError naming `path` and the tensor. A file name is judged by its text, not by
// where it leads: no separators, no "..", not `path` itself.
ShardIndex parse_shard_index(std::string_view text, const std::string& path);

}  // namespace w2vbert
