// Faults that the kernels have on request, in the emulator alone:
// tests/engine/cuda/planted_bugs_test.cpp shows that the checks find each of them.
#pragma once

namespace emulator {

enum class Bug {
  nothing,
  // device.cuh
  misses_the_barrier_between_sums,
  // gated_conv.cu
  conv_reads_the_clip_before,
  conv_gate_halves_swapped,
  conv_kernel_reversed,
  conv_omits_last_rows,
  conv_reads_behind_the_clip,
  conv_misses_the_barrier_before_sums,
  conv_misses_the_barrier_after_statistics,
  conv_variance_unbiased,
  conv_epsilon_outside_the_root,
  conv_sums_of_missing_warps,
  conv_without_swish,
  conv_barrier_in_a_branch,
  // add_norm.cu
  norm_residual_not_written,
  norm_of_the_residual_alone,
  norm_counts_the_tail,
  // bias_swish.cu
  swish_without_bias,
  swish_beyond_the_end,
  // relative_attention.cu
  attention_misses_rescale,
  attention_misses_last_keys,
  attention_forgets_the_mask,
  attention_masks_with_infinity,
  attention_clamps_one_side_only,
  attention_distance_mirrored,
  attention_tail_of_the_wrong_side,
  attention_keys_of_the_next_clip,
  attention_misses_the_wait,
  attention_misses_the_barrier_before_loading,
  attention_misses_the_barrier_after_distances,
  attention_uninitialised_values,
  attention_stores_rows_of_the_next_clip,
};

inline Bug planted_bug = Bug::nothing;

}  // namespace emulator
