#include "tool/corpus/partition.h"

#include "core/parse_number.h"
#include "core/text.h"
#include "w2vbert/core/error.h"

namespace w2vbert::tool {
namespace {

constexpr std::string_view kOf = "-of-";

constexpr const char* kNumShards = "num_shards";
constexpr const char* kShardIndex = "shard_index";

// A setting, or a variable of the environment.
bool is_setting(std::string_view name) { return name == kNumShards || name == kShardIndex; }

// What the user calls it.
std::string shown(std::string_view name) {
  if (!is_setting(name)) return std::string(name);
  return name == kNumShards ? "--num-shards" : "--shard-index";
}

[[noreturn]] void fail_partition(std::string_view name, std::string_view problem,
                                 std::string_view expected) {
  throw UsageError("", name, problem, expected, is_setting(name) ? name : "");
}

std::uint64_t number_of(const std::string& text, const char* name) {
  const auto number = parse_number<std::uint64_t>(text);
  if (!number) fail_partition(name, in_quotes(text) + " is no number", "a whole number, 0 or more");
  return *number;
}

Partition shard_of(const std::optional<std::string>& index, const char* index_name,
                   const std::optional<std::string>& count, const char* count_name) {
  if (!index || !count) {
    fail_partition(index ? index_name : count_name,
                   "given without " + shown(index ? count_name : index_name), "both or neither");
  }
  const Partition partition{number_of(*index, index_name), number_of(*count, count_name)};
  if (partition.count == 0) fail_partition(count_name, "is 0", "1 or more");
  if (partition.index >= partition.count) {
    fail_partition(index_name, "is " + *index,
                   "less than " + *count + " (" + shown(count_name) + ")");
  }
  return partition;
}

}  // namespace

std::uint64_t stable_hash(std::string_view text) {
  std::uint64_t hash = 0xcbf29ce484222325;  // FNV-1a, 64 bits: offset basis and prime
  for (const char c : text) hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001b3;
  // MurmurHash3's fmix64: FNV's low bits alone spread poorly over a small count.
  hash = (hash ^ (hash >> 33)) * 0xff51afd7ed558ccd;
  hash = (hash ^ (hash >> 33)) * 0xc4ceb9fe1a85ec53;
  return hash ^ (hash >> 33);
}

bool Partition::holds(std::string_view output_name) const {
  return count == 1 || stable_hash(output_name) % count == index;
}

std::string Partition::label() const {
  return count == 1 ? "" : std::to_string(index) + std::string(kOf) + std::to_string(count);
}

std::optional<Partition> Partition::from_label(std::string_view text) {
  if (text.empty()) return Partition{};
  const std::size_t of = text.find(kOf);
  if (of == std::string_view::npos) return std::nullopt;
  const auto number = parse_number<std::uint64_t>(text.substr(0, of));
  const auto numbers = parse_number<std::uint64_t>(text.substr(of + kOf.size()));
  if (!number || !numbers) return std::nullopt;
  return Partition{*number, *numbers};
}

namespace {

// The partition of a task of a Slurm array.
std::optional<Partition> partition_of_array(
    const std::function<std::optional<std::string>(const char*)>& variable) {
  const auto id = variable("SLURM_ARRAY_TASK_ID");
  const auto count = variable("SLURM_ARRAY_TASK_COUNT");
  if (!id && !count) return std::nullopt;
  if (!id || !count) {
    throw UsageError(
        "", id ? "SLURM_ARRAY_TASK_ID" : "SLURM_ARRAY_TASK_COUNT",
        std::string("given without ") + (id ? "SLURM_ARRAY_TASK_COUNT" : "SLURM_ARRAY_TASK_ID"),
        "both or neither");
  }
  const std::uint64_t task = number_of(*id, "SLURM_ARRAY_TASK_ID");
  const std::uint64_t tasks = number_of(*count, "SLURM_ARRAY_TASK_COUNT");
  const std::uint64_t first =
      number_of(variable("SLURM_ARRAY_TASK_MIN").value_or("0"), "SLURM_ARRAY_TASK_MIN");
  const std::uint64_t step =
      number_of(variable("SLURM_ARRAY_TASK_STEP").value_or("1"), "SLURM_ARRAY_TASK_STEP");
  if (tasks == 1) return std::nullopt;
  if (step == 0 || task < first || (task - first) % step != 0 || (task - first) / step >= tasks) {
    throw UsageError("", "SLURM_ARRAY_TASK_ID",
                     "is " + *id + " in an array of " + *count + " from " + std::to_string(first) +
                         " in steps of " + std::to_string(step),
                     "an array without gaps, or --num-shards and --shard-index");
  }
  return Partition{(task - first) / step, tasks};
}

}  // namespace

Partition choose_partition(const std::function<std::optional<std::string>(const char*)>& variable,
                           const std::optional<std::string>& num_shards,
                           const std::optional<std::string>& shard_index) {
  std::optional<Partition> launcher;
  const auto rank = variable("RANK");
  const auto world_size = variable("WORLD_SIZE");
  const auto task = variable("SLURM_PROCID");
  const auto tasks = variable("SLURM_STEP_NUM_TASKS");
  if (rank || world_size) {
    launcher = shard_of(rank, "RANK", world_size, "WORLD_SIZE");
  } else if (task && (tasks || *task != "0")) {
    // A batch script that runs once has SLURM_PROCID=0 alone; any other number is one of many.
    launcher = shard_of(task, "SLURM_PROCID", tasks, "SLURM_STEP_NUM_TASKS");
  }
  std::optional<Partition> options;
  if (num_shards || shard_index) {
    options = shard_of(shard_index, kShardIndex, num_shards, kNumShards);
  }
  // Explicit options speak for an array's task, whose list may be its own.
  if (const auto array = options ? std::nullopt : partition_of_array(variable)) {
    const Partition inner = launcher.value_or(Partition{});
    return {array->index * inner.count + inner.index, array->count * inner.count};
  }
  if (launcher && launcher->count > 1) {
    if (options && *options != *launcher) {
      fail_partition(kNumShards,
                     "the launcher's variables (" + std::string(rank ? "RANK" : "SLURM_PROCID") +
                         ") already give share " + std::to_string(launcher->index) + " of " +
                         std::to_string(launcher->count),
                     "one of the two");
    }
    return *launcher;
  }
  return options.value_or(Partition{});
}

}  // namespace w2vbert::tool
