// Which of several processes does which input, without any word between them.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>

namespace w2vbert::tool {

// Partition `index` of `count`. An input belongs to one partition by a fixed hash of its output
// name alone: not by the list's order, by what is done already, or by the other processes.
struct Partition {
  std::uint64_t index = 0;
  std::uint64_t count = 1;

  bool holds(std::string_view output_name) const;
  // "<index>-of-<count>" in the names of a partition's own files; "" for the whole.
  std::string label() const;
  // Nothing for a text that is no label.
  static std::optional<Partition> from_label(std::string_view text);
  friend bool operator==(const Partition&, const Partition&) = default;
};

// FNV-1a with MurmurHash3's finaliser: the same number on every machine and in every version.
std::uint64_t stable_hash(std::string_view text);

// The partition of this process: RANK with WORLD_SIZE (torchrun), else SLURM_PROCID with
// SLURM_STEP_NUM_TASKS (srun); in a Slurm array (SLURM_ARRAY_TASK_ID with SLURM_ARRAY_TASK_COUNT,
// and SLURM_ARRAY_TASK_MIN and _STEP, 0 and 1 where they are not set) a part of the array's
// partition. Else the settings num_shards and shard_index. A launcher with one process leaves
// the choice to the options, and the options decide in an array, too: each of its tasks may have a
// list of its own. `variable` returns an environment variable. Throws UsageError: half a pair, no
// number, an index that is not below the count, or a launcher and options that disagree.
Partition choose_partition(const std::function<std::optional<std::string>(const char*)>& variable,
                           const std::optional<std::string>& num_shards,
                           const std::optional<std::string>& shard_index);

}  // namespace w2vbert::tool
