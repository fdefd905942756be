// The index of a shard: a line of JSON for each clip in it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "tool/store/input_identity.h"

namespace w2vbert::tool {

// Under which a shard's metadata hold its index.
inline constexpr std::string_view kIndexKey = "index";

// shard-00000.safetensors and its index, shard-00000.jsonl.
std::string name_of_shard(std::size_t shard);  // without an ending
bool is_name_of_shard(std::string_view name);
inline constexpr std::string_view kIndexEnding = ".jsonl";
bool is_shard_index(std::string_view file_name);
// "shard-00000.jsonl" -> "shard-00000.safetensors".
std::string shard_of_index(std::string_view file_name);

struct IndexEntry {
  std::string name;
  std::string shard;        // the file's name
  std::int64_t frames = 0;  // rows of input_features
  std::int64_t samples = 0;
  std::int64_t sample_rate_hz = 0;
  std::int64_t source_sample_rate_hz = 0;
  std::int64_t source_channels = 0;
  std::string input_digest;  // of the input's bytes; may be empty
  std::optional<FilePart> part = {};
};

// {"name": …, "shard": …, "frames": n, …} and a line break.
std::string index_line(const IndexEntry& entry);

struct IndexedClip {
  std::string name;
  std::int64_t frames = 0;
  double audio_seconds = 0;
  std::string input_digest;
  std::optional<FilePart> part;
  std::string line;
};
// Throws JsonError for a text that is no index.
std::vector<IndexedClip> parse_index(std::string_view text);

}  // namespace w2vbert::tool
