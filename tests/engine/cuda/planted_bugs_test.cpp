// The checks see what they are for: each fault of planted_bugs.h is found, by the check named
// beside it.
#include <gtest/gtest.h>

#include <functional>

#include "engine/cuda/kernel_cases.h"

namespace w2vbert::cuda {
namespace {

using emulator::Bug;

// A few cases of each kernel, together some dozen milliseconds.
std::vector<Outcome> run_conv() {
  std::vector<Outcome> outcomes;
  outcomes.push_back(
      run(GatedConvCase{.lengths = {37, 3, 70}, .channels = 136, .tile_rows = 32, .epsilon = 0.1f},
          Element::float32));
  outcomes.push_back(run(GatedConvCase{.lengths = {37, 3, 70}, .channels = 72, .tile_rows = 32},
                         Element::bfloat16));
  outcomes.push_back(
      run(GatedConvCase{.lengths = {9}, .channels = 264, .kernel_size = 5}, Element::float32));
  return outcomes;
}
std::vector<Outcome> run_norm() {
  std::vector<Outcome> outcomes;
  outcomes.push_back(run(AddNormCase{.rows = 3, .channels = 264}, Element::float32));
  outcomes.push_back(run(AddNormCase{.rows = 3, .channels = 520}, Element::bfloat16));
  return outcomes;
}
std::vector<Outcome> run_swish() {
  std::vector<Outcome> outcomes;
  outcomes.push_back(run(BiasSwishCase{.rows = 7, .channels = 24}, Element::float32));
  return outcomes;
}
std::vector<Outcome> run_attention() {
  std::vector<Outcome> outcomes;
  outcomes.push_back(run(AttentionCase{.lengths = {200, 20}, .scale = 4.0f}, Element::bfloat16));
  outcomes.push_back(
      run(AttentionCase{.lengths = {100, 20}, .head_size = 64, .left = 3, .right = 3},
          Element::float16));
  outcomes.push_back(
      run(AttentionCase{.lengths = {70, 66}, .mask = Mask::every_second_clip}, Element::bfloat16));
  return outcomes;
}

struct Planted {
  Bug bug;
  const char* name;
  std::vector<Outcome> (*kernel)();
  const char* check;  // one of those that have to find it
};

void PrintTo(const Planted& planted, std::ostream* stream) { *stream << planted.name; }

const Planted kPlanted[] = {
    {Bug::misses_the_barrier_between_sums, "MissesTheBarrierBetweenSums", run_norm, "race"},
    {Bug::conv_reads_the_clip_before, "ConvReadsTheClipBefore", run_conv, "reference"},
    {Bug::conv_gate_halves_swapped, "ConvGateHalvesSwapped", run_conv, "reference"},
    {Bug::conv_kernel_reversed, "ConvKernelReversed", run_conv, "reference"},
    {Bug::conv_omits_last_rows, "ConvOmitsLastRows", run_conv, "unwritten"},
    {Bug::conv_reads_behind_the_clip, "ConvReadsBehindTheClip", run_conv, "bounds"},
    {Bug::conv_misses_the_barrier_before_sums, "ConvMissesTheBarrierBeforeSums", run_conv,
     "uninitialised"},
    {Bug::conv_misses_the_barrier_after_statistics, "ConvMissesTheBarrierAfterStatistics", run_conv,
     "race"},
    {Bug::conv_variance_unbiased, "ConvVarianceUnbiased", run_conv, "reference"},
    {Bug::conv_epsilon_outside_the_root, "ConvEpsilonOutsideTheRoot", run_conv, "reference"},
    {Bug::conv_sums_of_missing_warps, "ConvSumsOfMissingWarps", run_conv, "uninitialised"},
    {Bug::conv_without_swish, "ConvWithoutSwish", run_conv, "reference"},
    {Bug::conv_barrier_in_a_branch, "ConvBarrierInABranch", run_conv, "barrier"},
    {Bug::norm_residual_not_written, "NormResidualNotWritten", run_norm, "reference"},
    {Bug::norm_of_the_residual_alone, "NormOfTheResidualAlone", run_norm, "reference"},
    {Bug::norm_counts_the_tail, "NormCountsTheTail", run_norm, "reference"},
    {Bug::swish_without_bias, "SwishWithoutBias", run_swish, "reference"},
    {Bug::swish_beyond_the_end, "SwishBeyondTheEnd", run_swish, "bounds"},
    {Bug::attention_misses_rescale, "AttentionMissesRescale", run_attention, "reference"},
    {Bug::attention_misses_last_keys, "AttentionMissesLastKeys", run_attention, "reference"},
    {Bug::attention_forgets_the_mask, "AttentionForgetsTheMask", run_attention, "reference"},
    {Bug::attention_masks_with_infinity, "AttentionMasksWithInfinity", run_attention, "reference"},
    {Bug::attention_clamps_one_side_only, "AttentionClampsOneSideOnly", run_attention, "reference"},
    {Bug::attention_distance_mirrored, "AttentionDistanceMirrored", run_attention, "reference"},
    {Bug::attention_tail_of_the_wrong_side, "AttentionTailOfTheWrongSide", run_attention,
     "reference"},
    {Bug::attention_keys_of_the_next_clip, "AttentionKeysOfTheNextClip", run_attention, "bounds"},
    {Bug::attention_misses_the_wait, "AttentionMissesTheWait", run_attention, "uninitialised"},
    {Bug::attention_misses_the_barrier_before_loading, "AttentionMissesTheBarrierBeforeLoading",
     run_attention, "race"},
    {Bug::attention_misses_the_barrier_after_distances, "AttentionMissesTheBarrierAfterDistances",
     run_attention, "race"},
    {Bug::attention_uninitialised_values, "AttentionUninitialisedValues", run_attention,
     "uninitialised"},
    {Bug::attention_stores_rows_of_the_next_clip, "AttentionStoresRowsOfTheNextClip", run_attention,
     "race"},
};

class PlantedBug : public testing::TestWithParam<Planted> {
 protected:
  ~PlantedBug() override { emulator::planted_bug = Bug::nothing; }
};

TEST_P(PlantedBug, IsFound) {
  emulator::planted_bug = GetParam().bug;
  std::string found;
  for (const auto& outcome : GetParam().kernel()) found += outcome.checks() + " ";
  EXPECT_NE(found.find(GetParam().check), std::string::npos) << "found by: " << found;
  RecordProperty("found_by", found);
}

INSTANTIATE_TEST_SUITE_P(EveryKernel, PlantedBug, testing::ValuesIn(kPlanted),
                         [](const auto& planted) { return std::string(planted.param.name); });

// Without a fault the same cases are clean.
TEST(PlantedBugs, AreNotThereUnlessPlanted) {
  for (const auto kernel : {run_conv, run_norm, run_swish, run_attention}) {
    for (const auto& outcome : kernel()) EXPECT_TRUE(outcome.is_clean()) << outcome.text();
  }
}

}  // namespace
}  // namespace w2vbert::cuda
