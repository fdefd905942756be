#include "engine/state_sums.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <string>
#include <utility>

#include "w2vbert/core/error.h"

namespace w2vbert {
namespace {

// A product of so many rows exists beside the sum.
constexpr std::int64_t kRowsOfProduct = 1024;

}  // namespace

void check_sums(const std::vector<StateSum>& sums, std::int64_t layers) {
  for (const auto& [numbers, weights] : sums) {
    TORCH_CHECK_VALUE(!numbers.empty(), "a sum of states: has no numbers, expected one at least");
    TORCH_CHECK_VALUE(
        std::adjacent_find(numbers.begin(), numbers.end(), std::greater_equal<>()) == numbers.end(),
        "a sum of states: ", numbers, ", expected ascending numbers");
    for (const std::int64_t number : {numbers.front(), numbers.back()}) {
      if (number >= 0 && number <= layers) continue;
      throw UsageError("", "state " + std::to_string(number), "is not one of the model's",
                       "0 to " + std::to_string(layers));
    }
    TORCH_CHECK_VALUE(weights.empty() || weights.size() == numbers.size(),
                      "a sum of states: ", weights.size(), " weights, expected ", numbers.size());
    TORCH_CHECK_VALUE(
        std::all_of(weights.begin(), weights.end(), [](double w) { return std::isfinite(w); }),
        "a sum of states: ", weights, ", expected finite weights");
  }
}

StateSums::StateSums(const std::vector<StateSum>& sums) : sums_(sums), added_(sums.size()) {
  for (const StateSum& sum : sums) last_ = std::max(last_, sum.numbers.back());
}

void StateSums::add(std::int64_t number, const at::Tensor& state) {
  for (std::size_t i = 0; i < sums_.size(); ++i) {
    const auto& [numbers, weights] = sums_[i];
    const auto found = std::lower_bound(numbers.begin(), numbers.end(), number);
    if (found == numbers.end() || *found != number) continue;
    at::Tensor& sum = added_[i];
    const auto dtype = state.scalar_type() == at::kDouble ? at::kDouble : at::kFloat;
    if (weights.empty() && !sum.defined()) {
      sum = state.to(dtype, /*non_blocking=*/false, /*copy=*/true);
      continue;
    }
    if (!sum.defined()) sum = at::zeros(state.sizes(), state.options().dtype(dtype));
    // A fused multiply-add would round otherwise at the end of a row of vectors than within it.
    for (std::int64_t first = 0; first < state.size(0); first += kRowsOfProduct) {
      const std::int64_t rows = std::min(kRowsOfProduct, state.size(0) - first);
      const at::Tensor part = state.narrow(0, first, rows).to(dtype);
      sum.narrow(0, first, rows)
          .add_(weights.empty()
                    ? part
                    : part.mul(weights[static_cast<std::size_t>(found - numbers.begin())]));
    }
  }
}

std::vector<at::Tensor> StateSums::take() {
  for (std::size_t i = 0; i < sums_.size(); ++i) {
    const auto count = static_cast<double>(sums_[i].numbers.size());
    if (sums_[i].weights.empty() && count > 1) added_[i].div_(count);
  }
  return std::move(added_);
}

std::vector<ClipStates> Engine::compute_sums(const std::vector<EngineClip>& clips,
                                             const std::vector<StateSum>& sums) {
  check_sums(sums, num_hidden_layers());
  const at::NoGradGuard no_grad;
  std::vector<StateId> wanted;
  for (std::int64_t number = 0; number <= num_hidden_layers(); ++number) {
    const bool is_in_one = std::any_of(sums.begin(), sums.end(), [&](const StateSum& sum) {
      return std::binary_search(sum.numbers.begin(), sum.numbers.end(), number);
    });
    if (is_in_one) wanted.emplace_back(number);
  }
  std::vector<ClipStates> results = compute(clips, wanted);
  for (ClipStates& clip : results) {
    StateSums added(sums);
    at::TensorOptions of_states;
    for (std::size_t i = 0; i < wanted.size(); ++i) {
      const at::Tensor state = std::exchange(clip.states[i], {});
      of_states = state.options();
      added.add(wanted[i].number(), state);
    }
    clip.states = added.take();
    for (at::Tensor& sum : clip.states) sum = sum.to(of_states);
  }
  return results;
}

}  // namespace w2vbert
