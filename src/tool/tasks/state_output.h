// Which states an output holds: what --states says. Torch-free.
#pragma once

#include <compare>
#include <cstdint>
#include <string>
#include <vector>

namespace w2vbert::tool {

// One tensor of states in an output.
struct StateOutput {
  enum class Kind { state, mean, weighted, last_hidden_state };
  Kind kind = Kind::last_hidden_state;
  // As HF numbers hidden_states, ascending, each once; of last_hidden_state none.
  std::vector<std::int64_t> states = {};

  bool is_sum() const noexcept { return kind == Kind::mean || kind == Kind::weighted; }
  std::string text() const;  // as parse_states() takes it: "17", "mean:12-18"
  std::string name() const;  // of the tensor: "hidden_states.17", "hidden_states.mean.12-18"
  auto operator<=>(const StateOutput&) const = default;
};

// What stands between commas: a number, a range "12-18" or "all" (0 to num_hidden_layers). Those
// behind "mean:" or "weighted:" are of one mean or one weighted sum, up to the next such word; the
// others are outputs of their own. "mean" and "weighted" without a colon are the sums of all. "":
// last_hidden_state. The result is sorted, each once. Throws UsageError for anything else, for a
// state beyond the last layer, and for two weighted sums.
std::vector<StateOutput> parse_states(const std::string& text, std::int64_t num_hidden_layers);

// "12,mean:12-18": the same for every way to ask for the same.
std::string text_of(const std::vector<StateOutput>& outputs);

}  // namespace w2vbert::tool
