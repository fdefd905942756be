#include "w2vbert/checkpoint/shard_index.h"

#include <set>

#include "w2vbert/core/error.h"
#include "w2vbert/core/json.h"
#include "w2vbert/core/text.h"

namespace w2vbert {
namespace {

constexpr std::size_t kMaxShards = 100'000;
constexpr std::size_t kMaxFileNameBytes = 255;  // NAME_MAX

bool is_plain_file_name(std::string_view name) {
  return !name.empty() && name != "." && name != ".." && name.size() <= kMaxFileNameBytes &&
         name.find_first_of(std::string_view("/\\\n\0", 4)) == std::string_view::npos;
}

// Collects weight_map and metadata.total_size from the reader's events; the rest is ignored.
class IndexHandler : public JsonHandler {
 public:
  IndexHandler(const std::string& path, ShardIndex& index)
      : path_(path), own_name_(path.substr(path.rfind('/') + 1)), index_(index) {}

  void scalar(const JsonScalar& value) override {
    if (depth_ == 0) fail("", "the index is " + describe(value), "a JSON object");
    if (depth_ == 1 && key_ == "weight_map") fail(key_, describe(value), kWeightMap);
    if (depth_ != 2) return;
    if (section_ == "weight_map") {
      const auto* file = std::get_if<std::string_view>(&value);
      if (!file) fail_entry(describe(value));
      add(*file);
    } else if (section_ == "metadata" && key_ == "total_size") {
      if (const auto* bytes = std::get_if<std::uint64_t>(&value)) index_.total_size = *bytes;
    }
  }
  void begin_object() override {
    if (depth_ == 2 && section_ == "weight_map") fail_entry("an object");
    open();
  }
  void key(std::string_view name) override {
    if (depth_ <= 2) key_ = name;
  }
  void end_object() override { close(); }
  void begin_array() override {
    if (depth_ == 0) fail("", "the index is a list", "a JSON object");
    if (depth_ == 1 && key_ == "weight_map") fail(key_, "a list", kWeightMap);
    if (depth_ == 2 && section_ == "weight_map") fail_entry("a list");
    open();
  }
  void end_array() override { close(); }

 private:
  static constexpr const char* kWeightMap = "an object of tensor names and file names";

  [[noreturn]] void fail(std::string_view key, std::string_view problem,
                         std::string_view expected) const {
    throw CheckpointError(path_, key, problem, expected);
  }
  [[noreturn]] void fail_entry(const std::string& file) const {
    fail(key_, "its file is " + file, "the plain name of a file in the same directory");
  }
  void open() {
    if (depth_ == 1) section_ = key_;
    ++depth_;
  }
  void close() {
    --depth_;
    if (depth_ == 1) section_.clear();
  }
  void add(std::string_view file) {
    if (!is_plain_file_name(file) || file == own_name_) fail_entry(describe(JsonScalar(file)));
    if (shards_.find(file) == shards_.end()) {
      if (shards_.size() == kMaxShards) {
        fail("weight_map", "names more than " + std::to_string(kMaxShards) + " files", "fewer");
      }
      shards_.emplace(file);
    }
    // The hint: indexes are written in order.
    index_.weight_map.emplace_hint(index_.weight_map.end(), key_, file);
  }

  const std::string& path_;
  const std::string own_name_;
  ShardIndex& index_;
  std::size_t depth_ = 0;
  std::string key_;
  std::string section_;  // the key of the root that is being read
  std::set<std::string, std::less<>> shards_;
};

}  // namespace

ShardIndex parse_shard_index(std::string_view text, const std::string& path) {
  ShardIndex index;
  if (text.size() > kMaxShardIndexBytes) {
    throw CheckpointError(path, "", "has " + std::to_string(text.size()) + " bytes",
                          "at most " + std::to_string(kMaxShardIndexBytes));
  }
  IndexHandler handler(path, index);
  try {
    read_json(text, handler);
  } catch (const JsonError& error) {
    throw CheckpointError(path, "", error.what(), "a safetensors index");
  }
  if (index.weight_map.empty()) {
    throw CheckpointError(path, "weight_map", "is missing or empty",
                          "an object of tensor names and file names");
  }
  return index;
}

}  // namespace w2vbert
