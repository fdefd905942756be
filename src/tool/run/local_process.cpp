#include "tool/run/local_process.h"

#include <cstddef>
#include <string_view>

#include "core/parse_number.h"
#include "core/text.h"
#include "w2vbert/core/error.h"

namespace w2vbert::tool {
namespace {

using Variables = std::function<std::optional<std::string>(const char*)>;

struct Launcher {
  const char* index;
  const char* count;
};

constexpr Launcher kLaunchers[] = {
    {"LOCAL_RANK", "LOCAL_WORLD_SIZE"},
    {"OMPI_COMM_WORLD_LOCAL_RANK", "OMPI_COMM_WORLD_LOCAL_SIZE"},
    {"MV2_COMM_WORLD_LOCAL_RANK", "MV2_COMM_WORLD_LOCAL_SIZE"},
    {"MPI_LOCALRANKID", "MPI_LOCALNRANKS"},
};
constexpr Launcher kSlurm = {"SLURM_LOCALID", "SLURM_STEP_TASKS_PER_NODE"};
constexpr const char* kSlurmNode = "SLURM_NODEID";

// `lowest` or more.
int number_of(std::string_view text, const char* name, int lowest) {
  const auto number = parse_number<int>(text);
  if (!number || *number < lowest) {
    throw UsageError("", name, "is " + in_quotes(text),
                     "a whole number, " + std::to_string(lowest) + " or more");
  }
  return *number;
}

// Slurm's "4(x2),3" is 4, 4, 3: the number of tasks on each machine of a step.
int slurm_tasks(const std::string& text, int node) {
  for (std::string_view part : split(text, ',')) {
    int nodes = 1;
    const std::size_t times = part.find("(x");
    if (times != std::string_view::npos && part.ends_with(')')) {
      nodes = number_of(part.substr(times + 2, part.size() - times - 3), kSlurm.count, 1);
      part = part.substr(0, times);
    }
    if (node < nodes) return number_of(part, kSlurm.count, 1);
    node -= nodes;
  }
  throw UsageError("", kSlurm.count, "is " + in_quotes(text),
                   "the tasks of each machine, that of " + std::string(kSlurmNode) + ", too");
}

// Whether Slurm shows each task GPUs of its own.
bool has_own_gpus(const Variables& variable) {
  if (variable("SLURM_GPUS_PER_TASK")) return true;
  if (variable("SLURM_GPU_BIND").value_or("none") != "none") return true;
  return variable("SLURM_TRES_PER_TASK").value_or("").find("gpu") != std::string::npos;
}

}  // namespace

std::optional<LocalProcess> local_process(const Variables& variable) {
  const auto visible = variable("CUDA_VISIBLE_DEVICES");
  if (visible && visible->find(',') == std::string::npos) return std::nullopt;
  LocalProcess process;
  for (const Launcher& launcher : kLaunchers) {
    const auto index = variable(launcher.index);
    if (!index) continue;
    process.variable = launcher.index;
    process.index = number_of(*index, launcher.index, 0);
    if (const auto count = variable(launcher.count)) {
      process.count = number_of(*count, launcher.count, 1);
    }
    break;
  }
  if (process.variable.empty()) {
    const auto index = variable(kSlurm.index);
    const auto tasks = variable(kSlurm.count);
    // A batch script has index 0 alone: it runs once, whatever was asked for.
    if (!index || (!tasks && *index == "0") || has_own_gpus(variable)) return std::nullopt;
    process.variable = kSlurm.index;
    process.index = number_of(*index, kSlurm.index, 0);
    if (tasks) {
      process.count =
          slurm_tasks(*tasks, number_of(variable(kSlurmNode).value_or("0"), kSlurmNode, 0));
    }
  }
  if (process.count && process.index >= *process.count) {
    throw UsageError("", process.variable, "is " + std::to_string(process.index),
                     "less than " + std::to_string(*process.count) + ", the processes here");
  }
  return process;
}

std::vector<int> gpus_of(const LocalProcess& process, int gpus) {
  if (process.index >= gpus || process.count.value_or(1) > gpus) {
    throw UsageError("", process.variable,
                     "is " + std::to_string(process.index) +
                         (process.count ? " of " + std::to_string(*process.count) : "") +
                         ", and there " +
                         (gpus == 1 ? "is 1 GPU" : "are " + std::to_string(gpus) + " GPUs"),
                     "a GPU for each process of a machine");
  }
  if (!process.count) return {process.index};
  std::vector<int> own;
  for (int gpu = process.index; gpu < gpus; gpu += *process.count) own.push_back(gpu);
  return own;
}

}  // namespace w2vbert::tool
