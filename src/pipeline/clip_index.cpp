#include "clip_index.h"

#include <nlohmann/json.hpp>

#include "w2vbert/core/json.h"

namespace w2vbert {

std::string index_line(const IndexEntry& entry) {
  const nlohmann::ordered_json line = {{"name", entry.name},
                                       {"shard", entry.shard},
                                       {"frames", entry.frames},
                                       {"samples", entry.samples},
                                       {"sample_rate_hz", entry.sample_rate_hz},
                                       {"source_sample_rate_hz", entry.source_sample_rate_hz},
                                       {"source_channels", entry.source_channels}};
  return line.dump() + "\n";
}

std::vector<IndexedClip> parse_index(std::string_view text) {
  std::vector<IndexedClip> clips;
  while (!text.empty()) {
    const std::size_t end = text.find('\n');
    if (end == std::string_view::npos) throw JsonError("the last line has no end");
    const std::string_view line = text.substr(0, end + 1);
    const JsonValue value = JsonValue::parse(line);
    const JsonValue* name = value.find("name");
    if (name == nullptr || name->get_if<std::string>() == nullptr) {
      throw JsonError("a line without a name");
    }
    clips.push_back({*name->get_if<std::string>(), std::string(line)});
    text.remove_prefix(line.size());
  }
  return clips;
}

}  // namespace w2vbert
