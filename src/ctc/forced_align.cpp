#include "w2vbert/ctc/forced_align.h"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <limits>
#include <numeric>
#include <optional>
#include <string>
#include <utility>

#include "w2vbert/core/error.h"

namespace w2vbert {
namespace {

constexpr float kImpossible = -std::numeric_limits<float>::infinity();
// A frame's steps are a byte for each state: as many are kept at once.
constexpr std::int64_t kMaxStepBytes = 64 << 20;

[[noreturn]] void refuse(const char* key, const std::string& problem, const std::string& expected) {
  throw UsageError("", key, problem, expected);
}

void check_emission(std::span<const float> log_probs, std::int64_t vocab_size, std::int64_t blank) {
  if (vocab_size < 1) refuse("vocab_size", "is " + std::to_string(vocab_size), "1 or more");
  const auto row = static_cast<std::size_t>(vocab_size);
  if (log_probs.size() % row != 0) {
    refuse("log_probs", std::to_string(log_probs.size()) + " values",
           "a multiple of the vocabulary's " + std::to_string(vocab_size));
  }
  if (blank < 0 || blank >= vocab_size) {
    refuse("blank", "is " + std::to_string(blank),
           "an id below the vocabulary's size " + std::to_string(vocab_size));
  }
  const auto bad = std::find_if(log_probs.begin(), log_probs.end(), [](float value) {
    return std::isnan(value) || value == std::numeric_limits<float>::infinity();
  });
  if (bad == log_probs.end()) return;
  const auto at = static_cast<std::size_t>(bad - log_probs.begin());
  refuse("log_probs",
         std::string("is ") + (std::isnan(*bad) ? "NaN" : "infinite") + " in frame " +
             std::to_string(at / row) + " for token " + std::to_string(at % row),
         "the logarithm of a probability");
}

void check_targets(std::span<const std::int64_t> targets, std::int64_t vocab_size,
                   std::int64_t blank) {
  if (targets.empty()) refuse("targets", "are empty", "at least one token");
  for (const std::int64_t token : targets) {
    if (token < 0 || token >= vocab_size) {
      refuse("targets", "has the id " + std::to_string(token),
             "ids below the vocabulary's size " + std::to_string(vocab_size));
    }
    if (token == blank) {
      refuse("targets", "has the blank " + std::to_string(token), "tokens other than the blank");
    }
  }
}

// The steps between states that are taken: the states are blank, token 0, blank, token 1, ...
// blank, and a path goes on by 0, 1 or 2 of them a frame, by 2 only from a token to another one.
enum class TieRule { as_torchaudio, usual };

// torchaudio: src/libtorchaudio/forced_align/cpu/compute.cpp
class Trellis {
 public:
  Trellis(std::span<const float> log_probs, std::int64_t vocab_size,
          std::span<const std::int64_t> targets, std::int64_t blank, TieRule rule)
      : log_probs_(log_probs),
        row_(static_cast<std::size_t>(vocab_size)),
        frames_(static_cast<std::int64_t>(log_probs.size() / row_)),
        targets_(targets),
        length_(static_cast<std::int64_t>(targets.size())),
        states_(2 * length_ + 1),
        blank_(blank),
        rule_(rule) {
    for (std::size_t i = 1; i < targets.size(); ++i) repeats_ += targets[i] == targets[i - 1];
    if (frames_ < length_ + repeats_) {
      refuse("log_probs", "has " + std::to_string(frames_) + " frames",
             std::to_string(length_ + repeats_) + " or more for " + std::to_string(length_) +
                 " tokens, " + std::to_string(repeats_) + " of them a repeat");
    }
  }

  // Nothing where no path is possible.
  std::optional<std::vector<std::int64_t>> best_path() {
    // Steps are kept for some frames: where these are not all, what is before each group of them
    // is kept as well, and the group is walked again when its steps are asked for.
    const std::int64_t group = std::min(
        frames_, std::max(kMaxStepBytes / states_,
                          2 * static_cast<std::int64_t>(std::sqrt(static_cast<double>(frames_)))));
    steps_.resize(static_cast<std::size_t>(group * states_));
    std::vector<Column> firsts = {first_column()};
    Column last = firsts.front();
    for (std::int64_t frame = 1; frame < frames_; ++frame) {
      advance(last, frame, frame % group);
      if (frame % group == group - 1 && frame + 1 < frames_) firsts.push_back(last);
    }
    const float in_blank = last.sums[index(states_ - 1)];
    const float in_token = last.sums[index(states_ - 2)];
    if (std::max(in_blank, in_token) == kImpossible) return std::nullopt;
    std::int64_t state = in_blank > in_token ? states_ - 1 : states_ - 2;
    std::vector<std::int64_t> path(index(frames_));
    for (std::int64_t frame = frames_ - 1; frame >= 0; --frame) {
      path[index(frame)] = label(state);
      if (frame == 0) break;
      if (frame % group == group - 1 && frame + 1 < frames_) {  // the last one of its group
        walk_again(std::move(firsts[index(frame / group)]), frame - group + 1, frame);
      }
      state -= steps_[index(frame % group * states_ + state)];
    }
    return path;
  }

 private:
  // What the best paths to a frame's states sum up to, and which states there are: from start to
  // before end, so that the first frame can have been a first state and the last can be a last one.
  struct Column {
    std::vector<float> sums;
    std::int64_t start = 0;
    std::int64_t end = 0;
  };

  static std::size_t index(std::int64_t value) { return static_cast<std::size_t>(value); }
  std::int64_t label(std::int64_t state) const {
    return state % 2 == 0 ? blank_ : targets_[index(state / 2)];
  }
  bool repeats(std::int64_t target) const {  // the one before it
    return targets_[index(target)] == targets_[index(target - 1)];
  }

  Column first_column() const {
    Column column;
    column.sums.assign(index(states_), kImpossible);
    column.start = frames_ > length_ + repeats_ ? 0 : 1;
    column.end = 2;
    for (std::int64_t state = column.start; state < column.end; ++state) {
      column.sums[index(state)] = log_probs_[index(label(state))];
    }
    return column;
  }

  // From the frame before `frame` to it; its steps go to the row `kept` of steps_.
  void advance(Column& column, std::int64_t frame, std::int64_t kept) {
    const std::int64_t needed = length_ + repeats_;
    if (frames_ - frame <= needed) {
      if (column.start % 2 == 1 && !repeats(column.start / 2 + 1)) ++column.start;
      ++column.start;
    }
    if (frame <= needed) {
      if (column.end % 2 == 0 && column.end < 2 * length_ && !repeats(column.end / 2)) ++column.end;
      ++column.end;
    }
    const float* values = log_probs_.data() + index(frame) * row_;
    std::uint8_t* steps = steps_.data() + index(kept * states_);
    // From the last state on, whose predecessors are the ones before it.
    for (std::int64_t state = column.end - 1; state >= std::max<std::int64_t>(column.start, 1);
         --state) {
      const float stay = column.sums[index(state)];
      const float next = column.sums[index(state - 1)];
      const bool may_skip = state % 2 == 1 && state > 1 && !repeats(state / 2);
      const float skip = may_skip ? column.sums[index(state - 2)] : kImpossible;
      const std::uint8_t step = best_step(stay, next, skip);
      steps[state] = step;
      column.sums[index(state)] = (step == 2   ? skip
                                   : step == 1 ? next
                                               : stay) +
                                  values[index(label(state))];
    }
    if (column.start == 0) {
      steps[0] = 0;
      column.sums[0] += values[index(blank_)];
    }
    for (std::int64_t state = std::max<std::int64_t>(column.start - 3, 0); state < column.start;
         ++state) {
      column.sums[index(state)] = kImpossible;
    }
  }

  std::uint8_t best_step(float stay, float next, float skip) const {
    if (skip > next && skip > stay) return 2;
    if (next > stay && (rule_ == TieRule::usual || next > skip)) return 1;
    return 0;
  }

  // The steps of the frames from `first` to `last`, which come after `column`.
  void walk_again(Column column, std::int64_t first, std::int64_t last) {
    for (std::int64_t frame = std::max<std::int64_t>(first, 1); frame <= last; ++frame) {
      advance(column, frame, frame - first);
    }
  }

  std::span<const float> log_probs_;
  std::size_t row_;
  std::int64_t frames_;
  std::span<const std::int64_t> targets_;
  std::int64_t length_;
  std::int64_t states_;
  std::int64_t blank_;
  TieRule rule_;
  std::int64_t repeats_ = 0;
  std::vector<std::uint8_t> steps_;  // (group, states)
};

}  // namespace

ForcedAlignment forced_align(std::span<const float> log_probs, std::int64_t vocab_size,
                             std::span<const std::int64_t> targets, std::int64_t blank) {
  check_emission(log_probs, vocab_size, blank);
  check_targets(targets, vocab_size, blank);
  ForcedAlignment alignment;
  for (const TieRule rule : {TieRule::as_torchaudio, TieRule::usual}) {
    auto path = Trellis(log_probs, vocab_size, targets, blank, rule).best_path();
    if (!path) continue;
    alignment.path = std::move(*path);
    const auto row = static_cast<std::size_t>(vocab_size);
    for (std::size_t frame = 0; frame < alignment.path.size(); ++frame) {
      alignment.scores.push_back(
          log_probs[frame * row + static_cast<std::size_t>(alignment.path[frame])]);
    }
    return alignment;
  }
  refuse("log_probs", "has no path of the targets with a probability above 0", "one");
}

std::vector<TokenSpan> merge_tokens(std::span<const std::int64_t> path,
                                    std::span<const float> scores, std::int64_t blank) {
  if (path.size() != scores.size()) {
    refuse("scores", "has " + std::to_string(scores.size()) + " values",
           "one for each of " + std::to_string(path.size()) + " labels");
  }
  std::vector<TokenSpan> spans;
  for (std::size_t start = 0; start < path.size();) {
    const auto end = static_cast<std::size_t>(
        std::find_if(path.begin() + static_cast<std::ptrdiff_t>(start), path.end(),
                     [&](std::int64_t label) { return label != path[start]; }) -
        path.begin());
    if (path[start] != blank) {
      const double sum = std::accumulate(scores.begin() + static_cast<std::ptrdiff_t>(start),
                                         scores.begin() + static_cast<std::ptrdiff_t>(end), 0.0);
      spans.push_back({path[start], static_cast<std::int64_t>(start),
                       static_cast<std::int64_t>(end), sum / static_cast<double>(end - start)});
    }
    start = end;
  }
  return spans;
}

}  // namespace w2vbert
