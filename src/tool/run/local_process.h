// Which GPUs belong to one of several processes that a launcher began on a machine. Torch-free.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <vector>

namespace w2vbert::tool {

// Process `index` of `count` on this machine.
struct LocalProcess {
  int index = 0;
  std::optional<int> count;  // nothing: it is not told
  std::string variable;      // that says the index
};

// By the variables of torchrun (LOCAL_RANK, LOCAL_WORLD_SIZE), Open MPI
// (OMPI_COMM_WORLD_LOCAL_RANK, _SIZE), MVAPICH (MV2_COMM_WORLD_LOCAL_RANK, _SIZE), MPICH and Intel
// MPI (MPI_LOCALRANKID, MPI_LOCALNRANKS) and srun (SLURM_LOCALID, SLURM_STEP_TASKS_PER_NODE), of
// which the first that is there counts. Nothing where there is no launcher, and where the GPUs that
// a process sees are its own: CUDA_VISIBLE_DEVICES names one, or srun gave each task its GPUs
// (SLURM_GPUS_PER_TASK, SLURM_GPU_BIND, SLURM_TRES_PER_TASK). `variable` returns an environment
// variable. Throws UsageError for what is no number, or an index that is not below the count.
std::optional<LocalProcess> local_process(
    const std::function<std::optional<std::string>(const char*)>& variable);

// Every count-th of `gpus` GPUs, so that no two processes of a machine have one in common; the
// process's own number where the count is not told. Throws UsageError where there are fewer GPUs
// than processes.
std::vector<int> gpus_of(const LocalProcess& process, int gpus);

}  // namespace w2vbert::tool
