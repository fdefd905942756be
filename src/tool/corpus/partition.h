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
  // `path` with the label before its ending: "a/texts.0-of-4.jsonl"; for the whole,
  // and for no path, `path` itself. Throws StorageError for what is no file's name without the
  // label: "a/", "..", a directory.
  std::string labelled(const std::string& path) const;
  // Nothing for a text that is no label.
  static std::optional<Partition> from_label(std::string_view text);
  friend bool operator==(const Partition&, const Partition&) = default;
};

// The settings that choose a partition, in the words of the user.
struct PartitionSettings {
  std::optional<std::string> partition;  // "<index>/<count>"
  std::optional<std::string> num_shards;
  std::optional<std::string> shard_index;
  // Whether the inputs are a list's or a directory's, which every process of a launcher is given
  // alike. Files that are named one by one are each process's own, as in
  // `extract call_$SLURM_ARRAY_TASK_ID.wav`.
  bool of_list = true;
};

struct PartitionChoice {
  Partition partition;
  std::string chosen_by;  // the variables or options; "" for the whole
  std::string ignored;    // variables that would have divided a list, or lack a number of processes
};

// The partition of this process. The settings `partition`, or `num_shards` and `shard_index`,
// choose it for any inputs. A list is divided by a launcher's variables, too. Of the launchers that
// are there the first one counts: torchrun (RANK, WORLD_SIZE), Open MPI (OMPI_COMM_WORLD_RANK,
// _SIZE), MVAPICH (MV2_COMM_WORLD_RANK, _SIZE), PMIx (PMIX_RANK, PMIX_SIZE), MPICH and Intel MPI
// (PMI_RANK, PMI_SIZE), srun (SLURM_PROCID, SLURM_STEP_NUM_TASKS): one that is started by srun is
// the inner one. In a Slurm array (SLURM_ARRAY_TASK_ID with SLURM_ARRAY_TASK_COUNT, and
// SLURM_ARRAY_TASK_MIN and _STEP, 0 and 1 where they are not set) that is a part of the array's
// partition. A launcher with one process leaves the choice to the settings, and the settings decide
// in an array, too: each of its tasks may have a list of its own. `variable` returns an environment
// variable. Throws UsageError: half a pair, no number, an index that is not below the count, or a
// launcher and settings that disagree about a list.
PartitionChoice choose_partition(
    const std::function<std::optional<std::string>(const char*)>& variable,
    const PartitionSettings& settings);

}  // namespace w2vbert::tool
