#include "tool/parity/diagnosis.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <optional>

#include "core/dtype.h"
#include "tool/parity/comparison.h"
#include "tool/parity/known_mistakes.h"

namespace w2vbert::tool {
namespace {

// The dtype, below the one that `values` are stored in, that holds each of them.
std::optional<torch::ScalarType> narrower_dtype(const torch::Tensor& values) {
  if (values.scalar_type() != torch::kFloat && values.scalar_type() != torch::kDouble) return {};
  for (const auto dtype : {torch::kBFloat16, torch::kHalf}) {
    if (values.to(dtype).to(values.scalar_type()).equal(values)) return dtype;
  }
  return {};
}

class Diagnoser {
 public:
  explicit Diagnoser(const DiagnosisInputs& inputs) : inputs_(inputs) {
    const auto features = inputs.reference.tensor("inputs/input_features");
    const auto mask = inputs.reference.tensor("inputs/attention_mask");
    frames_ = features.size(1);
    if (mask.defined() && mask.dim() == 2 && !mask.to(torch::kBool).all().item<bool>()) {
      mask_ = mask.to(torch::kBool);
    }
  }

  Diagnosis find() {
    for (const DiagnosedRow& row : inputs_.rows) {
      if (!row.problem.empty()) {
        return {Divergence::operation, row.name, "", row.name + ": " + row.problem};
      }
      if (row.equal) {
        before_ = row.name;
        continue;
      }
      differs_ = true;
      const OutputPair pair = inputs_.read(row.name);
      if (auto mistake = known_mistake(inputs_, row.name, pair, mask_)) return *mistake;
      if (row.within) {
        before_ = row.name;
        continue;
      }
      if (auto diagnosis = diagnose(row.name, pair)) return *diagnosis;
    }
    if (!in_padding_.empty()) {
      return {Divergence::padding, in_padding_, "",
              in_padding_ + ": masked frames alone differ, here and in all that follows"};
    }
    if (!differs_) return {Divergence::none, "", "", "every bit is PyTorch's"};
    return {Divergence::rounding, "", "", "all that differs is within the tolerance: rounding"};
  }

 private:
  // Nothing for an output that differs in masked frames alone: what is wrong may come later.
  std::optional<Diagnosis> diagnose(const std::string& name, const OutputPair& pair) {
    const auto difference = scaled_difference(pair.actual, pair.expected);
    const auto frames = by_frames(difference, frames_);
    const bool is_batch = frames.defined() && mask_.defined() && frames.size(0) == mask_.size(0);
    if (!is_batch) return operation(name, pair, difference, frames);
    const auto outside_frames = (frames > inputs_.tolerance).any(-1);  // (B, T)
    const auto in_clips = outside_frames.logical_and(mask_);
    if (!in_clips.any().item<bool>()) {
      if (in_padding_.empty()) in_padding_ = name;
      return std::nullopt;
    }
    const auto is_padded = mask_.all(-1).logical_not();  // (B)
    const auto clip_outside = in_clips.any(-1);
    const bool whole_clips_are_right =
        is_padded.logical_not().any().item<bool>()
            ? !clip_outside.logical_and(is_padded.logical_not()).any().item<bool>()
            : !in_padding_.empty();
    if (whole_clips_are_right) {
      const std::string from = in_padding_.empty() ? name : in_padding_;
      return Diagnosis{Divergence::padding, from, "",
                       from + ": clips that are padded differ and the others do not" +
                           (from == name ? "" : " (in their own frames from " + name + " on)") +
                           ": a mask is not applied"};
    }
    return operation(name, pair, difference, frames);
  }

  Diagnosis operation(const std::string& name, const OutputPair& pair,
                      const torch::Tensor& difference, const torch::Tensor& frames) const {
    const double share = (difference > 0).to(torch::kDouble).mean().item<double>();
    const std::string size = short_number(100 * share) + " % of the values differ, by up to " +
                             short_number(difference.max().item<double>());
    const std::string where =
        before_.empty() ? "" : "; " + before_ + " is right: look at what lies between";
    if (frames.defined() && grows(frames)) {
      return {Divergence::position, name, "",
              name + ": the difference grows along the clip (" + size +
                  "): positions, distances or a running sum" + where};
    }
    std::string also;
    if (const auto dtype = narrower_dtype(pair.actual)) {
      also = "; the values are rounded to " + dtype_name(*dtype);
    }
    return {Divergence::operation, name, "",
            name + ": another operation or other weights (" + size + ")" + also + where};
  }

  // Whether the difference of a clip's frames grows from each quarter of them to the next.
  bool grows(const torch::Tensor& frames) const {
    constexpr std::int64_t kQuarters = 4;
    constexpr double kGrowth = 3.0;
    bool any = false;
    for (std::int64_t clip = 0; clip < frames.size(0); ++clip) {
      auto values = frames[clip].square().mean(-1).sqrt();  // (T)
      const bool is_masked = mask_.defined() && mask_.size(0) == frames.size(0);
      if (is_masked) values = values.index({mask_[clip]});
      if (values.numel() < 2 * kQuarters) continue;
      const auto quarters = values.tensor_split(kQuarters);
      std::array<double, kQuarters> mean{};
      for (std::size_t i = 0; i < mean.size(); ++i) mean[i] = quarters[i].mean().item<double>();
      if (!std::is_sorted(mean.begin(), mean.end()) || !std::isfinite(mean.back()) ||
          mean.back() <= kGrowth * mean.front()) {
        return false;
      }
      any = true;
    }
    return any;
  }

  const DiagnosisInputs& inputs_;
  torch::Tensor mask_;  // (B, T), true for frames of a clip; undefined where all are
  std::int64_t frames_ = 0;
  std::string before_;      // the last output that is right
  std::string in_padding_;  // the first that differs in masked frames alone
  bool differs_ = false;
};

}  // namespace

std::string_view name_of(Divergence kind) {
  switch (kind) {
    case Divergence::none:
      return "none";
    case Divergence::rounding:
      return "rounding";
    case Divergence::padding:
      return "padding";
    case Divergence::position:
      return "position";
    case Divergence::operation:
      return "operation";
  }
  return "";
}

Diagnosis diagnose(const DiagnosisInputs& inputs) {
  const torch::NoGradGuard no_grad;
  return Diagnoser(inputs).find();
}

}  // namespace w2vbert::tool
