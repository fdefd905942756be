// Which labels a loss takes.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <optional>
#include <string>

namespace w2vbert {

// HF: ignore_index of the losses, as in torch's cross entropy.
inline constexpr std::int64_t kIgnoredLabel = -100;

// From 0 to below `count`, the value of `key` in the config.
struct LabelRange {
  const char* key = "";
  std::int64_t count = 0;
  std::optional<std::int64_t> ignored = {};  // taken too, and left out
  bool negative_is_padding = false;          // all below 0 are
};

// The first of `labels` that is outside, where it is and what was expected: "7 at (0, 1), expected
// ..."; or "". Waits for a device.
std::string label_outside(const at::Tensor& labels, const LabelRange& range);

// Throws c10::ValueError for labels outside. Those on a device are not looked at, which would wait.
void check_label_range(const at::Tensor& labels, const LabelRange& range);

}  // namespace w2vbert
