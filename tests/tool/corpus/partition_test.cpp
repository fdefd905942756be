#include "tool/corpus/partition.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <array>
#include <iterator>
#include <map>
#include <string>
#include <string_view>
#include <utility>

#include "core/stable_hash.h"
#include "w2vbert/core/error.h"

namespace w2vbert::tool::testing {
namespace {

using Variables = std::map<std::string, std::string>;

PartitionChoice choose_by(const Variables& variables, const PartitionSettings& settings = {}) {
  return choose_partition(
      [&](const char* name) -> std::optional<std::string> {
        const auto found = variables.find(name);
        if (found == variables.end()) return std::nullopt;
        return found->second;
      },
      settings);
}

Partition choose(const Variables& variables, std::optional<std::string> num_shards = std::nullopt,
                 std::optional<std::string> shard_index = std::nullopt) {
  PartitionSettings settings;
  settings.num_shards = std::move(num_shards);
  settings.shard_index = std::move(shard_index);
  return choose_by(variables, settings).partition;
}

PartitionSettings partition_setting(const std::string& text) {
  PartitionSettings settings;
  settings.partition = text;
  return settings;
}

PartitionSettings of_files() {
  PartitionSettings settings;
  settings.of_list = false;
  return settings;
}

TEST(Partition, IsEverythingWhenNothingIsSaid) { EXPECT_EQ(choose({}), (Partition{0, 1})); }

TEST(Partition, ComesFromTorchrunThenSlurmThenTheOptions) {
  const Variables slurm = {{"SLURM_PROCID", "2"}, {"SLURM_STEP_NUM_TASKS", "3"}};
  Variables both = slurm;
  both["RANK"] = "1";
  both["WORLD_SIZE"] = "4";
  EXPECT_EQ(choose(both), (Partition{1, 4}));
  EXPECT_EQ(choose(slurm), (Partition{2, 3}));
  EXPECT_EQ(choose({}, "5", "4"), (Partition{4, 5}));
}

struct Named {
  const char* index;
  const char* count;
};
// The inner one first.
constexpr Named kLaunchers[] = {{"RANK", "WORLD_SIZE"},
                                {"OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE"},
                                {"MV2_COMM_WORLD_RANK", "MV2_COMM_WORLD_SIZE"},
                                {"PMIX_RANK", "PMIX_SIZE"},
                                {"PMI_RANK", "PMI_SIZE"},
                                {"SLURM_PROCID", "SLURM_STEP_NUM_TASKS"}};

TEST(Partition, ComesFromTheInnermostLauncher) {
  Variables variables;
  std::uint64_t count = 2;
  for (auto launcher = std::rbegin(kLaunchers); launcher != std::rend(kLaunchers); ++launcher) {
    variables[launcher->index] = "1";
    variables[launcher->count] = std::to_string(++count);
    const PartitionChoice choice = choose_by(variables);
    EXPECT_EQ(choice.partition, (Partition{1, count}));
    EXPECT_EQ(choice.chosen_by,
              std::string(launcher->index) + " and " + std::string(launcher->count));
    EXPECT_EQ(choice.ignored, "");
  }
}

TEST(Partition, NeedsANumberOfProcesses) {
  for (const auto& [index, count] : kLaunchers) {
    if (std::string_view(index).starts_with("PMIX")) continue;
    EXPECT_THROW(choose({{index, "1"}}), UsageError) << index;
    EXPECT_THROW(choose({{index, "2"}, {count, "2"}}), UsageError) << index;
    EXPECT_THROW(choose({{index, "x"}, {count, "2"}}), UsageError) << index;
  }
  // PMIx gives none.
  const PartitionChoice choice = choose_by({{"PMIX_RANK", "1"}});
  EXPECT_EQ(choice.partition, (Partition{0, 1}));
  EXPECT_EQ(choice.ignored, "PMIX_RANK");
  const PartitionChoice srun =
      choose_by({{"PMIX_RANK", "1"}, {"SLURM_PROCID", "1"}, {"SLURM_STEP_NUM_TASKS", "2"}});
  EXPECT_EQ(srun.partition, (Partition{1, 2}));
  EXPECT_EQ(srun.ignored, "");
}

TEST(Partition, LeavesFilesThatAreNamedOneByOneToEachProcess) {
  for (const auto& [index, count] : kLaunchers) {
    const PartitionChoice choice = choose_by({{index, "1"}, {count, "2"}}, of_files());
    EXPECT_EQ(choice.partition, (Partition{0, 1})) << index;
    EXPECT_EQ(choice.chosen_by, "");
    EXPECT_THAT(choice.ignored, ::testing::HasSubstr(index));
    EXPECT_EQ(choose_by({{index, "0"}, {count, "1"}}, of_files()).ignored, "") << index;
    // What is ignored cannot be wrong.
    EXPECT_EQ(choose_by({{index, "x"}, {count, "2"}}, of_files()).partition, (Partition{0, 1}));
  }
  const Variables array = {{"SLURM_ARRAY_TASK_ID", "7"}, {"SLURM_ARRAY_TASK_COUNT", "4"}};
  EXPECT_EQ(choose_by(array, of_files()).ignored, "SLURM_ARRAY_TASK_ID and SLURM_ARRAY_TASK_COUNT");
  EXPECT_EQ(choose_by(array, of_files()).partition, (Partition{0, 1}));
  PartitionSettings explicit_share = of_files();
  explicit_share.partition = "1/3";
  const PartitionChoice choice = choose_by(array, explicit_share);
  EXPECT_EQ(choice.partition, (Partition{1, 3}));
  EXPECT_EQ(choice.chosen_by, "--partition");
  EXPECT_EQ(choice.ignored, "");
}

TEST(Partition, SaysWhatChoseIt) {
  EXPECT_EQ(choose_by({}).chosen_by, "");
  EXPECT_EQ(choose_by({}, partition_setting("1/3")).chosen_by, "--partition");
  PartitionSettings shards;
  shards.num_shards = "3";
  shards.shard_index = "1";
  EXPECT_EQ(choose_by({}, shards).chosen_by, "--num-shards and --shard-index");
  Variables array = {{"SLURM_ARRAY_TASK_ID", "2"}, {"SLURM_ARRAY_TASK_COUNT", "4"}};
  EXPECT_EQ(choose_by(array).chosen_by, "SLURM_ARRAY_TASK_ID and SLURM_ARRAY_TASK_COUNT");
  array["SLURM_PROCID"] = "1";
  array["SLURM_STEP_NUM_TASKS"] = "3";
  EXPECT_EQ(choose_by(array).chosen_by,
            "SLURM_ARRAY_TASK_ID and SLURM_ARRAY_TASK_COUNT, SLURM_PROCID and "
            "SLURM_STEP_NUM_TASKS");
}

TEST(Partition, IsAnIndexAndACount) {
  EXPECT_EQ(choose_by({}, partition_setting("0/1")).partition, (Partition{0, 1}));
  EXPECT_EQ(choose_by({}, partition_setting("2/3")).partition, (Partition{2, 3}));
  for (const char* text : {"", "/", "1", "1/", "/3", "3/3", "-1/3", "-0/3", "1/0", "0/0", "1/3/",
                           " 1/3", "1 /3", "1/3 ", "+1/3", "a/b", "1/18446744073709551616"}) {
    try {
      choose_by({}, partition_setting(text));
      ADD_FAILURE() << text;
    } catch (const UsageError& error) {
      EXPECT_EQ(error.setting(), "partition") << text;
    }
  }
  PartitionSettings both = partition_setting("1/3");
  both.num_shards = "3";
  both.shard_index = "1";
  EXPECT_EQ(choose_by({}, both).partition, (Partition{1, 3}));
  both.shard_index = "2";
  EXPECT_THROW(choose_by({}, both), UsageError);
  both.shard_index.reset();
  EXPECT_THROW(choose_by({}, both), UsageError);
}

TEST(Partition, HasALabelThatNamesIt) {
  EXPECT_EQ((Partition{0, 1}).label(), "");
  EXPECT_EQ((Partition{3, 12}).label(), "3-of-12");
  EXPECT_EQ((Partition{0, 1}).labelled("a/texts.jsonl"), "a/texts.jsonl");
  EXPECT_EQ((Partition{3, 12}).labelled("a/texts.jsonl"), "a/texts.3-of-12.jsonl");
  EXPECT_EQ((Partition{3, 12}).labelled("a.b/texts"), "a.b/texts.3-of-12");
  EXPECT_EQ((Partition{3, 12}).labelled(".texts"), ".texts.3-of-12");
  EXPECT_EQ((Partition{3, 12}).labelled(""), "");
  for (const char* no_file : {"a/", "/", ".", "..", "a/..", "/tmp"}) {
    EXPECT_THROW((void)(Partition{3, 12}).labelled(no_file), StorageError) << no_file;
  }
  for (const Partition& partition : {Partition{0, 1}, Partition{3, 12}}) {
    EXPECT_EQ(Partition::from_label(partition.label()), partition);
  }
  for (const char* text : {"3", "3-of-", "-of-3", "x-of-3", "3-of-3x", "3of12"}) {
    EXPECT_EQ(Partition::from_label(text), std::nullopt) << text;
  }
}

TEST(Partition, IsEverythingInABatchScriptThatRunsOnce) {
  EXPECT_EQ(choose({{"SLURM_PROCID", "0"}, {"SLURM_NTASKS", "8"}}), (Partition{0, 1}));
}

TEST(Partition, ComesFromASlurmArray) {
  Variables array = {{"SLURM_ARRAY_TASK_ID", "2"}, {"SLURM_ARRAY_TASK_COUNT", "4"}};
  EXPECT_EQ(choose(array), (Partition{2, 4}));
  array["SLURM_PROCID"] = "0";  // the batch script itself
  EXPECT_EQ(choose(array), (Partition{2, 4}));
  array["SLURM_PROCID"] = "1";  // srun in each task of the array
  array["SLURM_STEP_NUM_TASKS"] = "3";
  EXPECT_EQ(choose(array), (Partition{7, 12}));
  EXPECT_EQ(choose(array, "3", "1"), (Partition{1, 3}));  // a list of its own for each task

  Variables odd = {{"SLURM_ARRAY_TASK_ID", "11"},
                   {"SLURM_ARRAY_TASK_COUNT", "4"},
                   {"SLURM_ARRAY_TASK_MIN", "5"},
                   {"SLURM_ARRAY_TASK_STEP", "2"}};
  EXPECT_EQ(choose(odd), (Partition{3, 4}));
  for (const char* id : {"4", "6", "13", "x"}) {
    odd["SLURM_ARRAY_TASK_ID"] = id;
    EXPECT_THROW(choose(odd), UsageError) << id;
    EXPECT_EQ(choose(odd, "1", "0"), (Partition{0, 1}));
  }
  EXPECT_EQ(choose({{"SLURM_ARRAY_TASK_ID", "7"}, {"SLURM_ARRAY_TASK_COUNT", "1"}}),
            (Partition{0, 1}));
  EXPECT_THROW(choose({{"SLURM_ARRAY_TASK_ID", "0"}}), UsageError);
  for (const char* count : {"4294967296", "4294967297", "18446744073709551615"}) {
    EXPECT_THROW(choose({{"SLURM_ARRAY_TASK_ID", "0"},
                         {"SLURM_ARRAY_TASK_COUNT", count},
                         {"RANK", "0"},
                         {"WORLD_SIZE", "4294967296"}}),
                 UsageError)
        << count;
  }
}

TEST(Partition, LeavesTheChoiceToTheOptionsUnderALauncherOfOneProcess) {
  EXPECT_EQ(choose({{"SLURM_PROCID", "0"}, {"SLURM_STEP_NUM_TASKS", "1"}}, "5", "4"),
            (Partition{4, 5}));
}

TEST(Partition, RefusesHalfAPair) {
  EXPECT_THROW(choose({{"RANK", "0"}}), UsageError);
  EXPECT_THROW(choose({{"WORLD_SIZE", "2"}}), UsageError);
  EXPECT_THROW(choose({{"SLURM_PROCID", "3"}}), UsageError);
  EXPECT_THROW(choose({}, "2", std::nullopt), UsageError);
  EXPECT_THROW(choose({}, std::nullopt, "0"), UsageError);
}

TEST(Partition, SaysWhichSettingIsWrongAndNoneForAVariable) {
  const auto setting_of = [](const Variables& variables, const char* num_shards,
                             const char* shard_index) -> std::string {
    const auto given = [](const char* text) {
      return text ? std::optional<std::string>(text) : std::nullopt;
    };
    try {
      choose(variables, given(num_shards), given(shard_index));
    } catch (const UsageError& error) {
      EXPECT_TRUE(error.setting().empty() || error.setting() == error.key());
      return error.setting();
    }
    return "accepted";
  };
  EXPECT_EQ(setting_of({}, "2", nullptr), "num_shards");
  EXPECT_EQ(setting_of({}, nullptr, "0"), "shard_index");
  EXPECT_EQ(setting_of({}, "2", "2"), "shard_index");
  EXPECT_EQ(setting_of({}, "0", "0"), "num_shards");
  EXPECT_EQ(setting_of({{"RANK", "1"}, {"WORLD_SIZE", "4"}}, "4", "2"), "num_shards");
  EXPECT_EQ(setting_of({{"RANK", "0"}}, nullptr, nullptr), "");
}

TEST(Partition, RefusesWhatIsNoNumberOrOutOfRange) {
  EXPECT_THROW(choose({{"RANK", "2"}, {"WORLD_SIZE", "2"}}), UsageError);
  EXPECT_THROW(choose({{"RANK", "0"}, {"WORLD_SIZE", "0"}}), UsageError);
  EXPECT_THROW(choose({{"RANK", "x"}, {"WORLD_SIZE", "2"}}), UsageError);
  EXPECT_THROW(choose({{"RANK", ""}, {"WORLD_SIZE", "2"}}), UsageError);
  EXPECT_THROW(choose({}, "2", "-1"), UsageError);
  EXPECT_THROW(choose({}, "2", "1 "), UsageError);
}

TEST(Partition, RefusesALauncherAndOptionsThatDisagree) {
  const Variables launcher = {{"RANK", "1"}, {"WORLD_SIZE", "4"}};
  EXPECT_THROW(choose(launcher, "4", "2"), UsageError);
  EXPECT_EQ(choose(launcher, "4", "1"), (Partition{1, 4}));
  EXPECT_THROW(choose_by(launcher, partition_setting("2/4")), UsageError);
  EXPECT_EQ(choose_by(launcher, partition_setting("1/4")).partition, (Partition{1, 4}));
}

TEST(Partition, GivesEachNameToExactlyOneShare) {
  constexpr std::uint64_t kCount = 7;
  std::array<int, kCount> sizes{};
  for (int i = 0; i < 7000; ++i) {
    int holders = 0;
    for (std::uint64_t index = 0; index < kCount; ++index) {
      if (!Partition{index, kCount}.holds("speaker/" + std::to_string(i))) continue;
      ++holders;
      ++sizes[index];
    }
    ASSERT_EQ(holders, 1);
  }
  for (const int size : sizes) {
    EXPECT_GT(size, 850);
    EXPECT_LT(size, 1150);
  }
}

// The number is part of the contract: partitions of two versions must not overlap.
TEST(Partition, HashesAsItAlwaysDid) {
  // From the definition of FNV-1a and fmix64, computed in Python:
  //   h = 0xcbf29ce484222325
  //   for c in b"a/b": h = (h ^ c) * 0x100000001b3 % 2**64
  //   h ^= h >> 33; h = h * 0xff51afd7ed558ccd % 2**64
  //   h ^= h >> 33; h = h * 0xc4ceb9fe1a85ec53 % 2**64; h ^= h >> 33
  EXPECT_EQ(stable_hash("a/b"), 0xf2a5b2f60b006aec);
  EXPECT_EQ(stable_hash(""), 0xefd01f60ba992926);
}

}  // namespace
}  // namespace w2vbert::tool::testing
