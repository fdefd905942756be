#include "w2vbert/pipeline/shard.h"

#include "w2vbert/core/error.h"
#include "w2vbert/core/text.h"
#include "w2vbert/pipeline/parse_number.h"

namespace w2vbert {
namespace {

std::uint64_t number_of(const std::string& text, const char* name) {
  const auto number = parse_number<std::uint64_t>(text);
  if (!number) {
    throw UsageError("", name, "\"" + quote_bytes(text) + "\" is no number",
                     "a whole number, 0 or more");
  }
  return *number;
}

Shard shard_of(const std::optional<std::string>& index, const char* index_name,
               const std::optional<std::string>& count, const char* count_name) {
  if (!index || !count) {
    throw UsageError("", index ? index_name : count_name,
                     std::string("given without ") + (index ? count_name : index_name),
                     "both or neither");
  }
  const Shard shard{number_of(*index, index_name), number_of(*count, count_name)};
  if (shard.count == 0) throw UsageError("", count_name, "is 0", "1 or more");
  if (shard.index >= shard.count) {
    throw UsageError("", index_name, "is " + *index, "less than " + *count + " (" + count_name + ")");
  }
  return shard;
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

bool Shard::holds(std::string_view output_name) const {
  return count == 1 || stable_hash(output_name) % count == index;
}

Shard choose_shard(const std::function<std::optional<std::string>(const char*)>& variable,
                   const std::optional<std::string>& num_shards,
                   const std::optional<std::string>& shard_index) {
  std::optional<Shard> launcher;
  const auto rank = variable("RANK");
  const auto world_size = variable("WORLD_SIZE");
  const auto task = variable("SLURM_PROCID");
  const auto tasks = variable("SLURM_STEP_NUM_TASKS");
  if (rank || world_size) {
    launcher = shard_of(rank, "RANK", world_size, "WORLD_SIZE");
  } else if (task && tasks) {
    launcher = shard_of(task, "SLURM_PROCID", tasks, "SLURM_STEP_NUM_TASKS");
  } else if (task && *task != "0") {
    // A batch script that runs once has SLURM_PROCID=0 alone; any other number is one of many.
    launcher = shard_of(task, "SLURM_PROCID", tasks, "SLURM_STEP_NUM_TASKS");
  }
  std::optional<Shard> options;
  if (num_shards || shard_index) {
    options = shard_of(shard_index, "--shard-index", num_shards, "--num-shards");
  }
  if (launcher && launcher->count > 1) {
    if (options && *options != *launcher) {
      throw UsageError("", "--num-shards",
                       "the launcher's variables (" + std::string(rank ? "RANK" : "SLURM_PROCID") +
                           ") already give share " + std::to_string(launcher->index) + " of " +
                           std::to_string(launcher->count),
                       "one of the two");
    }
    return *launcher;
  }
  return options.value_or(Shard{});
}

}  // namespace w2vbert
