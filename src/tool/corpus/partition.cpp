#include "tool/corpus/partition.h"

#include "core/file.h"
#include "core/parse_number.h"
#include "core/stable_hash.h"
#include "core/text.h"
#include "w2vbert/core/error.h"

namespace w2vbert::tool {
namespace {

constexpr std::string_view kOf = "-of-";

constexpr const char* kPartition = "partition";
constexpr const char* kNumShards = "num_shards";
constexpr const char* kShardIndex = "shard_index";

// A setting, or a variable of the environment.
bool is_setting(std::string_view name) {
  return name == kPartition || name == kNumShards || name == kShardIndex;
}

// What the user calls it.
std::string shown(std::string_view name) {
  if (!is_setting(name)) return std::string(name);
  if (name == kPartition) return "--partition";
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

bool Partition::holds(std::string_view output_name) const {
  return count == 1 || stable_hash(output_name) % count == index;
}

std::string Partition::label() const {
  return count == 1 ? "" : std::to_string(index) + std::string(kOf) + std::to_string(count);
}

std::string Partition::labelled(const std::string& path) const {
  if (count == 1 || path.empty()) return path;
  // With the label they would be names.
  const std::string_view name = file_name(path);
  const bool is_name = !name.empty() && name != "." && name != "..";
  if (!is_name || is_directory<StorageError>(path)) {
    throw StorageError(path, "", is_name ? "is a directory" : "is no file name",
                       "the name of a file");
  }
  const std::size_t dot = path.rfind('.');
  // A leading dot starts a hidden file's name.
  const bool has_ending = dot != std::string::npos && dot > directory_prefix(path).size();
  const std::size_t end = has_ending ? dot : path.size();
  return path.substr(0, end) + "." + label() + path.substr(end);
}

std::optional<Partition> Partition::from_label(std::string_view text) {
  if (text.empty()) return Partition{};
  const std::size_t of = text.find(kOf);
  if (of == std::string_view::npos) return std::nullopt;
  const auto number = parse_number<std::uint64_t>(text.substr(0, of));
  const auto numbers = parse_number<std::uint64_t>(text.substr(of + kOf.size()));
  if (!number || !numbers || *number >= *numbers) return std::nullopt;
  return Partition{*number, *numbers};
}

namespace {

using Variables = std::function<std::optional<std::string>(const char*)>;

struct Launcher {
  const char* index;
  const char* count;
};

// The inner one first, where one starts another.
constexpr Launcher kLaunchers[] = {
    {"RANK", "WORLD_SIZE"},
    {"OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE"},
    {"MV2_COMM_WORLD_RANK", "MV2_COMM_WORLD_SIZE"},
    {"PMIX_RANK", "PMIX_SIZE"},
    {"PMI_RANK", "PMI_SIZE"},
    {"SLURM_PROCID", "SLURM_STEP_NUM_TASKS"},
};
constexpr std::string_view kPmixIndex = "PMIX_RANK";
constexpr std::string_view kSlurmIndex = "SLURM_PROCID";
constexpr Launcher kArray = {"SLURM_ARRAY_TASK_ID", "SLURM_ARRAY_TASK_COUNT"};
constexpr const char* kArrayFirst = "SLURM_ARRAY_TASK_MIN";
constexpr const char* kArrayStep = "SLURM_ARRAY_TASK_STEP";

std::string both(const Launcher& launcher) {
  return std::string(launcher.index) + " and " + launcher.count;
}

// Whether the variables of a launcher are there, and mean several processes or cannot be read.
bool exists(const Launcher& launcher, const Variables& variable) {
  const auto index = variable(launcher.index);
  const auto count = variable(launcher.count);
  if (launcher.index == kSlurmIndex) {
    // A batch script that runs once has SLURM_PROCID=0 alone; any other number is one of many.
    return index && (count || *index != "0");
  }
  // PMIx does not tell how many there are.
  if (launcher.index == kPmixIndex) return index && count;
  return index || count;
}

const Launcher* launcher_of(const Variables& variable) {
  for (const Launcher& launcher : kLaunchers) {
    if (exists(launcher, variable)) return &launcher;
  }
  return nullptr;
}

// The partition of a task of a Slurm array.
std::optional<Partition> partition_of_array(const Variables& variable) {
  const auto id = variable(kArray.index);
  const auto count = variable(kArray.count);
  if (!id && !count) return std::nullopt;
  if (!id || !count) {
    throw UsageError("", id ? kArray.index : kArray.count,
                     std::string("given without ") + (id ? kArray.count : kArray.index),
                     "both or neither");
  }
  const std::uint64_t task = number_of(*id, kArray.index);
  const std::uint64_t tasks = number_of(*count, kArray.count);
  const std::uint64_t first = number_of(variable(kArrayFirst).value_or("0"), kArrayFirst);
  const std::uint64_t step = number_of(variable(kArrayStep).value_or("1"), kArrayStep);
  if (tasks == 1) return std::nullopt;
  if (step == 0 || task < first || (task - first) % step != 0 || (task - first) / step >= tasks) {
    throw UsageError("", kArray.index,
                     "is " + *id + " in an array of " + *count + " from " + std::to_string(first) +
                         " in steps of " + std::to_string(step),
                     "an array without gaps, or --num-shards and --shard-index");
  }
  return Partition{(task - first) / step, tasks};
}

std::optional<Partition> partition_of_settings(const PartitionSettings& settings) {
  const auto& partition = settings.partition;
  const auto& num_shards = settings.num_shards;
  const auto& shard_index = settings.shard_index;
  std::optional<Partition> chosen;
  if (num_shards || shard_index) {
    chosen = shard_of(shard_index, kShardIndex, num_shards, kNumShards);
  }
  if (!partition) return chosen;
  const std::size_t slash = partition->find('/');
  const auto index = parse_number<std::uint64_t>(std::string_view(*partition).substr(0, slash));
  const auto count =
      slash == std::string::npos
          ? std::nullopt
          : parse_number<std::uint64_t>(std::string_view(*partition).substr(slash + 1));
  if (!index || !count || *index >= *count) {
    fail_partition(kPartition, "is " + in_quotes(*partition),
                   "i/n, with n processes and i from 0 to n - 1");
  }
  if (chosen && *chosen != Partition{*index, *count}) {
    fail_partition(kPartition,
                   "is " + in_quotes(*partition) + " beside --shard-index " + *shard_index +
                       " and --num-shards " + *num_shards,
                   "one of the two");
  }
  return Partition{*index, *count};
}

// The variables that would divide a list.
std::string dividing_variables(const Variables& variable) {
  std::string names;
  for (const Launcher* launcher : {&kArray, launcher_of(variable)}) {
    if (launcher == nullptr || !variable(launcher->index)) continue;
    if (variable(launcher->count).value_or("") == "1") continue;
    names += (names.empty() ? "" : ", ") + both(*launcher);
  }
  return names;
}

}  // namespace

PartitionChoice choose_partition(const Variables& variable, const PartitionSettings& settings) {
  const std::optional<Partition> options = partition_of_settings(settings);
  const std::string option_names =
      settings.partition ? shown(kPartition) : shown(kNumShards) + " and " + shown(kShardIndex);
  if (!settings.of_list) {
    if (options) return {*options, option_names, ""};
    return {{}, "", dividing_variables(variable)};
  }
  PartitionChoice choice;
  if (const Launcher* launcher = launcher_of(variable)) {
    choice.partition = shard_of(variable(launcher->index), launcher->index,
                                variable(launcher->count), launcher->count);
    choice.chosen_by = both(*launcher);
  } else if (variable(kPmixIndex.data())) {
    choice.ignored = kPmixIndex;
  }
  // Explicit options speak for an array's task, whose list may be its own.
  if (const auto array = options ? std::nullopt : partition_of_array(variable)) {
    const Partition inner = choice.partition;
    std::uint64_t all = 0;
    if (__builtin_mul_overflow(array->count, inner.count, &all)) {
      throw UsageError("", kArray.count,
                       "is " + std::to_string(array->count) + ", with " +
                           std::to_string(inner.count) + " processes in each task",
                       "fewer than 2^64 processes in all");
    }
    choice.partition = {array->index * inner.count + inner.index, all};
    choice.chosen_by = both(kArray) + (inner.count > 1 ? ", " + choice.chosen_by : "");
    return choice;
  }
  if (!options) return choice;
  if (choice.partition.count > 1 && *options != choice.partition) {
    fail_partition(settings.partition ? kPartition : kNumShards,
                   "the launcher's variables (" + choice.chosen_by + ") already give share " +
                       std::to_string(choice.partition.index) + " of " +
                       std::to_string(choice.partition.count),
                   "one of the two");
  }
  return {*options, option_names, ""};
}

}  // namespace w2vbert::tool
