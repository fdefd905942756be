#include "tool/store/clip_index.h"

#include <array>
#include <cstdio>
#include <nlohmann/json.hpp>

#include "core/escaped_name.h"
#include "core/json.h"
#include "core/parse_number.h"
#include "tool/corpus/input_list.h"
#include "tool/store/output_scan.h"

namespace w2vbert::tool {
namespace {

template <class Type>
const Type* member(const JsonValue& object, std::string_view name) {
  const JsonValue* value = object.find(name);
  return value ? value->get_if<Type>() : nullptr;
}

std::optional<std::int64_t> count(const JsonValue& object, std::string_view name) {
  const auto* value = member<std::uint64_t>(object, name);
  return value ? std::optional(static_cast<std::int64_t>(*value)) : std::nullopt;
}

constexpr std::string_view kShardBegin = "shard-";

}  // namespace

std::string name_of_shard(std::size_t shard) {
  std::array<char, 32> digits{};
  std::snprintf(digits.data(), digits.size(), "%05zu", shard);
  return std::string(kShardBegin) + digits.data();
}

bool is_name_of_shard(std::string_view name) {
  if (!name.starts_with(kShardBegin)) return false;
  const auto shard = parse_number<std::size_t>(name.substr(kShardBegin.size()));
  return shard && name == name_of_shard(*shard);
}

bool is_shard_index(std::string_view file_name) {
  return file_name.starts_with(kShardBegin) && file_name.ends_with(kIndexEnding);
}

std::string shard_of_index(std::string_view file_name) {
  file_name.remove_suffix(kIndexEnding.size());
  return std::string(file_name).append(kOutputEnding);
}

std::string index_line(const IndexEntry& entry) {
  nlohmann::ordered_json line = {{"name", escaped_name(entry.name)},
                                 {"shard", entry.shard},
                                 {"frames", entry.frames},
                                 {"samples", entry.samples},
                                 {"sample_rate_hz", entry.sample_rate_hz},
                                 {"source_sample_rate_hz", entry.source_sample_rate_hz},
                                 {"source_channels", entry.source_channels}};
  if (entry.part) {
    line[kPartBeginKey] = entry.part->begin;
    line[kPartEndKey] = entry.part->end;
    line[kPartTotalKey] = entry.part->total;
  }
  if (!entry.input_digest.empty()) line[std::string(kInputDigestKey)] = entry.input_digest;
  return line.dump() + "\n";
}

std::vector<IndexedClip> parse_index(std::string_view text) {
  std::vector<IndexedClip> clips;
  while (!text.empty()) {
    const std::size_t end = text.find('\n');
    if (end == std::string_view::npos) throw JsonError("the last line has no end");
    const std::string_view line = text.substr(0, end + 1);
    const JsonValue value = JsonValue::parse(line);
    const std::string* name = member<std::string>(value, "name");
    const std::uint64_t* samples = member<std::uint64_t>(value, "samples");
    const std::uint64_t* rate = member<std::uint64_t>(value, "sample_rate_hz");
    if (!name || !samples || !rate || *rate == 0) {
      throw JsonError("a line without name, samples or sample_rate_hz");
    }
    const std::uint64_t* frames = member<std::uint64_t>(value, "frames");
    const std::string* digest = member<std::string>(value, kInputDigestKey);
    clips.push_back({unescaped_name(*name), frames ? static_cast<std::int64_t>(*frames) : 0,
                     static_cast<double>(*samples) / static_cast<double>(*rate),
                     digest ? *digest : "",
                     file_part(count(value, kPartBeginKey), count(value, kPartEndKey),
                               count(value, kPartTotalKey), count(value, kSourceRateKey)),
                     std::string(line)});
    text.remove_prefix(line.size());
  }
  return clips;
}

}  // namespace w2vbert::tool
