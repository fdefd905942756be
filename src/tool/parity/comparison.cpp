#include "tool/parity/comparison.h"

#include <algorithm>
#include <array>
#include <cstdio>
#include <limits>

namespace w2vbert::tool {
namespace {

constexpr std::int64_t kFarthest = std::numeric_limits<std::int64_t>::max();

// Whole numbers in the order of the floats: neighbours are one apart, 0 and -0 are both 0.
torch::Tensor ordered_bits(const torch::Tensor& values) {
  const auto bytes = values.element_size();
  const auto type = bytes == 8 ? torch::kLong : bytes == 4 ? torch::kInt : torch::kShort;
  const auto bits = values.contiguous().view(type).to(torch::kLong);
  const std::int64_t lowest = bytes == 8   ? std::numeric_limits<std::int64_t>::min()
                              : bytes == 4 ? std::numeric_limits<std::int32_t>::min()
                                           : std::numeric_limits<std::int16_t>::min();
  return torch::where(bits < 0, torch::rsub(bits, lowest), bits);
}

std::vector<std::int64_t> unravel(std::int64_t flat, torch::IntArrayRef sizes) {
  std::vector<std::int64_t> index(sizes.size());
  for (std::size_t i = sizes.size(); i-- > 0; flat /= sizes[i]) index[i] = flat % sizes[i];
  return index;
}

torch::Tensor where_different(const torch::Tensor& ours, const torch::Tensor& theirs) {
  return ours.ne(theirs).logical_and(ours.isnan().logical_and(theirs.isnan()).logical_not());
}

}  // namespace

torch::Tensor difference(const torch::Tensor& ours, const torch::Tensor& theirs) {
  const auto delta = (ours.to(torch::kDouble) - theirs.to(torch::kDouble)).abs();
  return delta
      .masked_fill(ours.isnan().logical_xor(theirs.isnan()),
                   std::numeric_limits<double>::infinity())
      .masked_fill(where_different(ours, theirs).logical_not(), 0.0);
}

torch::Tensor scaled_difference(const torch::Tensor& ours, const torch::Tensor& theirs) {
  const auto size = torch::nan_to_num(theirs.to(torch::kDouble).abs(), 1.0);
  return difference(ours, theirs) / size.clamp_min(1.0);
}

std::string short_number(double number) {
  std::array<char, 32> text{};
  std::snprintf(text.data(), text.size(), "%.3g", number);
  return text.data();
}

Comparison compare(const torch::Tensor& ours, const torch::Tensor& theirs) {
  const torch::NoGradGuard no_grad;
  Comparison result;
  result.values = ours.numel();
  result.same_shape = theirs.defined() && ours.sizes() == theirs.sizes();
  if (!result.same_shape || ours.numel() == 0) return result;

  const auto differs = where_different(ours, theirs);
  result.differing = differs.sum().item<std::int64_t>();
  if (result.differing == 0) return result;

  const auto a = ours.to(torch::kDouble).reshape({-1});
  const auto b = theirs.to(torch::kDouble).reshape({-1});
  const auto one_nan = ours.isnan().logical_xor(theirs.isnan()).reshape({-1});
  const auto zero = torch::zeros({}, a.options());
  const auto delta = difference(ours, theirs).reshape({-1});
  result.largest = delta.max().item<double>();
  const auto size = torch::nan_to_num(b.abs(), 1.0);
  result.largest_relative = torch::where(size > 0, delta / size, zero).max().item<double>();
  result.largest_scaled = scaled_difference(ours, theirs).max().item<double>();
  result.cosine = (a.dot(b) / (a.norm() * b.norm())).item<double>();

  const auto same_type = ours.to(theirs.scalar_type());
  auto ulps = (ordered_bits(same_type) - ordered_bits(theirs)).abs().reshape({-1});
  ulps = torch::where(differs.reshape({-1}), ulps, torch::zeros({}, ulps.options()));
  ulps = torch::where(one_nan, torch::full({}, kFarthest, ulps.options()), ulps);
  result.ulps = ulps.max().item<std::int64_t>();

  const auto count = std::min(Comparison::kWorst, result.differing);
  const auto worst = std::get<1>(delta.topk(count)).cpu();
  for (std::int64_t i = 0; i < count; ++i) {
    const auto at = worst[i].item<std::int64_t>();
    result.worst.push_back({unravel(at, theirs.sizes()), a[at].item<double>(), b[at].item<double>(),
                            ulps[at].item<std::int64_t>()});
  }
  if (theirs.dim() == 3) {
    const auto frames = delta.view(theirs.sizes()).amax(2).cpu();
    for (std::int64_t row = 0; row < frames.size(0); ++row) {
      const auto* values = frames[row].const_data_ptr<double>();
      result.frames.emplace_back(values, values + frames.size(1));
    }
  }
  return result;
}

}  // namespace w2vbert::tool
