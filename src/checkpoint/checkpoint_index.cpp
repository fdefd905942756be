#include "checkpoint/checkpoint_index.h"

#include <algorithm>
#include <array>
#include <cctype>
#include <charconv>
#include <nlohmann/json.hpp>
#include <set>
#include <utility>

#include "core/json.h"
#include "core/text.h"
#include "w2vbert/core/error.h"

namespace w2vbert {
namespace {

constexpr std::size_t kMaxShards = 100'000;
constexpr std::size_t kMaxFileNameBytes = 255;  // NAME_MAX
constexpr std::size_t kShardDigits = 5;         // at least
constexpr std::string_view kStem = "model";
constexpr std::string_view kOf = "-of-";
constexpr std::string_view kExtension = ".safetensors";

bool is_plain_file_name(std::string_view name) {
  return !name.empty() && name != "." && name != ".." && name.size() <= kMaxFileNameBytes &&
         name.find_first_of(std::string_view("/\\\n\0", 4)) == std::string_view::npos;
}

// Collects weight_map and the metadata's numbers from the reader's events; the rest is ignored.
class IndexHandler : public JsonHandler {
 public:
  IndexHandler(const std::string& path, CheckpointIndex& index)
      : path_(path), own_name_(path.substr(path.rfind('/') + 1)), index_(index) {}

  void scalar(const JsonScalar& value) override {
    if (depth_ == 0) fail("", "the index is " + describe(value), "a JSON object");
    if (depth_ == 1 && key_ == "weight_map") fail(key_, describe(value), kWeightMap);
    if (depth_ != 2) return;
    if (section_ == "weight_map") {
      const auto* file = std::get_if<std::string_view>(&value);
      if (!file) fail_entry(describe(value));
      add(*file);
    } else if (section_ == "metadata") {
      const auto* number = std::get_if<std::uint64_t>(&value);
      if (number && key_ == "total_size") index_.total_size = *number;
      if (number && key_ == "total_parameters") index_.total_parameters = *number;
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
  CheckpointIndex& index_;
  std::size_t depth_ = 0;
  std::string key_;
  std::string section_;  // the key of the root that is being read
  std::set<std::string, std::less<>> shards_;
};

std::string padded(std::size_t number) {
  const std::string digits = std::to_string(number);
  return std::string(kShardDigits - std::min(kShardDigits, digits.size()), '0') + digits;
}

// Takes a number of kShardDigits or more from the front; whether there was one.
bool take_number(std::string_view& text) {
  const auto other = std::find_if_not(text.begin(), text.end(),
                                      [](unsigned char c) { return std::isdigit(c) != 0; });
  const auto digits = static_cast<std::size_t>(other - text.begin());
  text.remove_prefix(digits);
  return digits >= kShardDigits;
}

bool take_prefix(std::string_view& text, std::string_view prefix) {
  if (!text.starts_with(prefix)) return false;
  text.remove_prefix(prefix.size());
  return true;
}

std::string_view without_spaces(std::string_view text) {
  const std::size_t first = text.find_first_not_of(" \t\r\n");
  if (first == std::string_view::npos) return {};
  return text.substr(first, text.find_last_not_of(" \t\r\n") - first + 1);
}

}  // namespace

std::string serialize_shard_index(const CheckpointIndex& index, const std::string& path) {
  nlohmann::json metadata = nlohmann::json::object();  // sorted, as HF writes it
  if (index.total_parameters) metadata["total_parameters"] = *index.total_parameters;
  if (index.total_size) metadata["total_size"] = *index.total_size;
  const nlohmann::json root = {{"metadata", metadata}, {"weight_map", index.weight_map}};
  try {
    return root.dump(2, ' ', /*ensure_ascii=*/true) + "\n";
  } catch (const nlohmann::json::exception&) {  // its text would carry the input
    throw CheckpointError(path, "weight_map", "holds a name that is not UTF-8", "UTF-8");
  }
}

std::vector<std::vector<std::size_t>> split_into_shards(std::span<const std::uint64_t> sizes,
                                                        std::uint64_t max_shard_size) {
  std::vector<std::vector<std::size_t>> shards;
  std::vector<std::size_t> current;
  std::uint64_t current_size = 0;
  for (std::size_t i = 0; i < sizes.size(); ++i) {
    if (sizes[i] > max_shard_size) {
      shards.push_back({i});
      continue;
    }
    if (sizes[i] > max_shard_size - current_size) {
      shards.push_back(std::exchange(current, {}));
      current_size = 0;
    }
    current.push_back(i);
    current_size += sizes[i];
  }
  if (!current.empty()) shards.push_back(std::move(current));
  return shards;
}

std::string shard_file_name(std::size_t shard, std::size_t shards) {
  std::string name(kStem);
  if (shards != 1) name += "-" + padded(shard + 1) + std::string(kOf) + padded(shards);
  return name + std::string(kExtension);
}

bool is_shard_file_name(std::string_view name) {
  return take_prefix(name, kStem) && take_prefix(name, "-") && take_number(name) &&
         take_prefix(name, kOf) && take_number(name) && name == kExtension;
}

std::optional<std::uint64_t> parse_shard_size(std::string_view text) {
  constexpr std::array<std::pair<std::string_view, double>, 4> kUnits = {
      {{"KB", 1e3}, {"MB", 1e6}, {"GB", 1e9}, {"TB", 1e12}}};
  constexpr double kLimit = 9223372036854775808.0;  // 2^63
  text = without_spaces(text);
  if (text.size() < 2) return std::nullopt;
  std::string unit(text.substr(text.size() - 2));
  for (char& c : unit) c = static_cast<char>(std::toupper(static_cast<unsigned char>(c)));
  const std::string_view digits = without_spaces(text.substr(0, text.size() - 2));
  double number = 0;
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), number);
  if (error != std::errc() || end != digits.data() + digits.size()) return std::nullopt;
  for (const auto& [name, factor] : kUnits) {
    if (unit != name) continue;
    const double bytes = number * factor;
    if (!(bytes >= 0 && bytes < kLimit)) return std::nullopt;  // NaN too
    return static_cast<std::uint64_t>(bytes);
  }
  return std::nullopt;
}

CheckpointIndex parse_checkpoint_index(std::string_view text, const std::string& path) {
  CheckpointIndex index;
  if (text.size() > kMaxCheckpointIndexBytes) {
    throw CheckpointError(path, "", "has " + std::to_string(text.size()) + " bytes",
                          "at most " + std::to_string(kMaxCheckpointIndexBytes));
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
