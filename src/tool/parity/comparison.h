#pragma once

#include <torch/types.h>

#include <cstdint>
#include <string>
#include <vector>

namespace w2vbert::tool {

// How far a tensor is from PyTorch's. NaN is equal to NaN, and infinitely far from a number.
struct Comparison {
  struct Element {
    std::vector<std::int64_t> index;
    double ours = 0.0;
    double theirs = 0.0;
    std::int64_t ulps = 0;
  };

  bool same_shape = true;  // false: nothing below is set but `values`
  std::int64_t values = 0;
  std::int64_t differing = 0;     // values that differ in any bit (0 and -0 are equal)
  double largest = 0.0;           // |ours - theirs|
  double largest_relative = 0.0;  // |ours - theirs| / |theirs|, where theirs is not 0
  double largest_scaled = 0.0;    // |ours - theirs| / max(1, |theirs|): what a tolerance looks at
  std::int64_t ulps = 0;          // the largest number of representable values in between, plus one
  double cosine = 1.0;            // of both as vectors; NaN where one has NaN
  std::vector<Element> worst;     // by |ours - theirs|, at most kWorst of those that differ
  // The largest |ours - theirs| of each frame, for (B, T, C): B rows of T. Empty for other shapes,
  // and where nothing differs.
  std::vector<std::vector<double>> frames;

  static constexpr std::int64_t kWorst = 5;
};

// Three digits: "0.0123", "1.5e-07"; "0" for nothing.
std::string short_number(double number);

// |ours - theirs| in float64, value by value: 0 where both are equal or NaN, infinity where one
// alone is NaN; and the same over max(1, |theirs|), which is what a tolerance looks at.
torch::Tensor difference(const torch::Tensor& ours, const torch::Tensor& theirs);
torch::Tensor scaled_difference(const torch::Tensor& ours, const torch::Tensor& theirs);

// Float tensors of any shape. Units in the last place are those of `theirs`' dtype.
Comparison compare(const torch::Tensor& ours, const torch::Tensor& theirs);

}  // namespace w2vbert::tool
