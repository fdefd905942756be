#include "tool/corpus/partition.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <array>
#include <map>
#include <string>

#include "w2vbert/core/error.h"

namespace w2vbert::tool::testing {
namespace {

using Variables = std::map<std::string, std::string>;

Partition choose(const Variables& variables, std::optional<std::string> num_shards = std::nullopt,
                 std::optional<std::string> shard_index = std::nullopt) {
  return choose_partition(
      [&](const char* name) -> std::optional<std::string> {
        const auto found = variables.find(name);
        if (found == variables.end()) return std::nullopt;
        return found->second;
      },
      num_shards, shard_index);
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

TEST(Partition, HasALabelThatNamesIt) {
  EXPECT_EQ((Partition{0, 1}).label(), "");
  EXPECT_EQ((Partition{3, 12}).label(), "3-of-12");
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
