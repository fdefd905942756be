#include "tool/run/local_process.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>
#include <string>

#include "w2vbert/core/error.h"

namespace w2vbert::tool::testing {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::ThrowsMessage;

using Variables = std::map<std::string, std::string>;

std::optional<LocalProcess> process_of(const Variables& variables) {
  return local_process([&](const char* name) -> std::optional<std::string> {
    const auto found = variables.find(name);
    if (found == variables.end()) return std::nullopt;
    return found->second;
  });
}

// "2 of 4 by LOCAL_RANK", "2 by LOCAL_RANK", or "none".
std::string text_of(const Variables& variables) {
  const auto process = process_of(variables);
  if (!process) return "none";
  return std::to_string(process->index) +
         (process->count ? " of " + std::to_string(*process->count) : "") + " by " +
         process->variable;
}

TEST(LocalProcess, IsToldByEachLauncher) {
  EXPECT_EQ(text_of({}), "none");
  EXPECT_EQ(text_of({{"LOCAL_RANK", "2"}, {"LOCAL_WORLD_SIZE", "4"}}), "2 of 4 by LOCAL_RANK");
  EXPECT_EQ(text_of({{"LOCAL_RANK", "2"}}), "2 by LOCAL_RANK");
  EXPECT_EQ(text_of({{"OMPI_COMM_WORLD_LOCAL_RANK", "1"}, {"OMPI_COMM_WORLD_LOCAL_SIZE", "2"}}),
            "1 of 2 by OMPI_COMM_WORLD_LOCAL_RANK");
  EXPECT_EQ(text_of({{"MV2_COMM_WORLD_LOCAL_RANK", "1"}, {"MV2_COMM_WORLD_LOCAL_SIZE", "2"}}),
            "1 of 2 by MV2_COMM_WORLD_LOCAL_RANK");
  EXPECT_EQ(text_of({{"MPI_LOCALRANKID", "3"}, {"MPI_LOCALNRANKS", "8"}}),
            "3 of 8 by MPI_LOCALRANKID");
  // The inner one, where srun starts torchrun.
  EXPECT_EQ(text_of({{"LOCAL_RANK", "2"},
                     {"LOCAL_WORLD_SIZE", "4"},
                     {"SLURM_LOCALID", "0"},
                     {"SLURM_STEP_TASKS_PER_NODE", "1"}}),
            "2 of 4 by LOCAL_RANK");
}

TEST(LocalProcess, HasSlurmsNumberOfTasksOfItsMachine) {
  const auto of = [](const std::string& tasks, const std::string& node) {
    return text_of(
        {{"SLURM_LOCALID", "1"}, {"SLURM_STEP_TASKS_PER_NODE", tasks}, {"SLURM_NODEID", node}});
  };
  EXPECT_EQ(of("4", "0"), "1 of 4 by SLURM_LOCALID");
  EXPECT_EQ(of("4(x2),3", "0"), "1 of 4 by SLURM_LOCALID");
  EXPECT_EQ(of("4(x2),3", "1"), "1 of 4 by SLURM_LOCALID");
  EXPECT_EQ(of("4(x2),3", "2"), "1 of 3 by SLURM_LOCALID");
  EXPECT_EQ(of("2,5(x10),7", "10"), "1 of 5 by SLURM_LOCALID");
  for (const char* tasks : {"", "x", "4(x", "4(x2", "4(x0)", "0", "4,,3", "4(x2),3"}) {
    EXPECT_THROW(of(tasks, "3"), UsageError) << tasks;
  }
  // A batch script runs once, whatever was asked for.
  EXPECT_EQ(text_of({{"SLURM_LOCALID", "0"}, {"SLURM_TASKS_PER_NODE", "4"}}), "none");
  EXPECT_EQ(text_of({{"SLURM_LOCALID", "3"}}), "3 by SLURM_LOCALID");  // one of many
}

TEST(LocalProcess, IsNoneWhereEachProcessSeesItsOwnGpus) {
  const Variables launched = {{"LOCAL_RANK", "2"}, {"LOCAL_WORLD_SIZE", "4"}};
  const auto with = [&](const std::string& name, const std::string& value) {
    Variables variables = launched;
    variables[name] = value;
    return text_of(variables);
  };
  EXPECT_EQ(with("CUDA_VISIBLE_DEVICES", "3"), "none");
  EXPECT_EQ(with("CUDA_VISIBLE_DEVICES", "GPU-8932f937"), "none");
  EXPECT_EQ(with("CUDA_VISIBLE_DEVICES", "0,1,2,3"), "2 of 4 by LOCAL_RANK");
  const auto in_step = [&](const std::string& name, const std::string& value) {
    return text_of({{"SLURM_LOCALID", "1"}, {"SLURM_STEP_TASKS_PER_NODE", "2"}, {name, value}});
  };
  EXPECT_EQ(in_step("SLURM_GPUS_PER_TASK", "2"), "none");
  EXPECT_EQ(in_step("SLURM_GPU_BIND", "closest"), "none");
  EXPECT_EQ(in_step("SLURM_GPU_BIND", "none"), "1 of 2 by SLURM_LOCALID");
  EXPECT_EQ(in_step("SLURM_TRES_PER_TASK", "cpu=4,gres/gpu=2"), "none");
  EXPECT_EQ(in_step("SLURM_TRES_PER_TASK", "cpu=4"), "1 of 2 by SLURM_LOCALID");
  // Those of a task are shared out among what torchrun starts in it.
  EXPECT_EQ(with("SLURM_GPUS_PER_TASK", "4"), "2 of 4 by LOCAL_RANK");
}

TEST(LocalProcess, HasANumberThatIsOne) {
  for (const char* index : {"", "x", "-1", "1.0", " 1", "99999999999"}) {
    EXPECT_THAT(
        [&] {
          (void)process_of({{"LOCAL_RANK", index}});
        },
        ThrowsMessage<UsageError>(HasSubstr("LOCAL_RANK: is")))
        << index;
  }
  EXPECT_THAT(
      [&] {
        (void)process_of({{"LOCAL_RANK", "0"}, {"LOCAL_WORLD_SIZE", "0"}});
      },
      ThrowsMessage<UsageError>(HasSubstr("LOCAL_WORLD_SIZE: is")));
  EXPECT_THAT(
      [&] {
        (void)process_of({{"LOCAL_RANK", "4"}, {"LOCAL_WORLD_SIZE", "4"}});
      },
      ThrowsMessage<UsageError>(HasSubstr("less than 4")));
}

TEST(GpusOf, ShareThemOut) {
  const auto gpus = [](int index, std::optional<int> count, int all) {
    return gpus_of({index, count, "LOCAL_RANK"}, all);
  };
  EXPECT_THAT(gpus(0, 1, 3), ElementsAre(0, 1, 2));
  EXPECT_THAT(gpus(0, 2, 8), ElementsAre(0, 2, 4, 6));
  EXPECT_THAT(gpus(1, 2, 8), ElementsAre(1, 3, 5, 7));
  EXPECT_THAT(gpus(2, 3, 4), ElementsAre(2));
  EXPECT_THAT(gpus(0, 3, 4), ElementsAre(0, 3));
  EXPECT_THAT(gpus(3, std::nullopt, 4), ElementsAre(3));
  for (const int index : {0, 4}) {
    EXPECT_THAT([&] { (void)gpus(index, 5, 4); },
                ThrowsMessage<UsageError>(HasSubstr("there are 4 GPUs")));
  }
  EXPECT_THROW((void)gpus(4, std::nullopt, 4), UsageError);
}

}  // namespace
}  // namespace w2vbert::tool::testing
