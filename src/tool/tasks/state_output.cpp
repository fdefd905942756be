#include "tool/tasks/state_output.h"

#include <algorithm>
#include <optional>
#include <string_view>

#include "core/parse_number.h"
#include "core/text.h"
#include "w2vbert/core/error.h"

namespace w2vbert::tool {
namespace {

constexpr const char* kStates = "states";

std::string word_of(StateOutput::Kind kind) {
  return kind == StateOutput::Kind::mean ? "mean" : "weighted";
}

// "3,7,12-18"
std::string list_text(const std::vector<std::int64_t>& numbers) {
  std::string text;
  for (std::size_t i = 0; i < numbers.size();) {
    std::size_t last = i;
    while (last + 1 < numbers.size() && numbers[last + 1] == numbers[last] + 1) ++last;
    if (!text.empty()) text += ',';
    text += std::to_string(numbers[i]);
    if (last > i) text += '-' + std::to_string(numbers[last]);
    i = last + 1;
  }
  return text;
}

// Reads words between commas.
class StateReader {
 public:
  explicit StateReader(std::int64_t num_hidden_layers) : layers_(num_hidden_layers) {}

  std::vector<std::int64_t> numbers_of(const std::string& word) const {
    if (word == "all") return range(0, layers_);
    const std::size_t dash = word.find('-', 1);
    if (dash == std::string::npos) return {number_of(word, word)};
    const std::int64_t first = number_of(word.substr(0, dash), word);
    const std::int64_t last = number_of(word.substr(dash + 1), word);
    if (first > last) {
      throw UsageError("", kStates, in_quotes(word) + " is no range", "the lower number first",
                       kStates);
    }
    return range(first, last);
  }

 private:
  // `part` of `word`.
  std::int64_t number_of(const std::string& part, const std::string& word) const {
    const std::string all = "0 to " + std::to_string(layers_);
    const auto number = parse_number<std::int64_t>(part);
    if (!number || (*number == 0 && part.front() == '-')) {
      throw UsageError("", kStates, in_quotes(word) + " is no number",
                       "\"all\", or numbers from " + all + " with commas between them, ranges as " +
                           "3-7, and mean: or weighted: before those of a sum",
                       kStates);
    }
    if (*number < 0 || *number > layers_) {
      throw UsageError("", kStates, quote_bytes(part) + " is not one of the model's", all, kStates);
    }
    return *number;
  }

  static std::vector<std::int64_t> range(std::int64_t first, std::int64_t last) {
    std::vector<std::int64_t> numbers;
    for (std::int64_t number = first; number <= last; ++number) numbers.push_back(number);
    return numbers;
  }

  std::int64_t layers_;
};

// The sum that a word begins.
struct SumBegun {
  StateOutput::Kind kind;
  bool is_of_all;  // the word has no colon: no number behind it belongs to the sum
};
// It is taken off `word`, which is left with the sum's first states.
std::optional<SumBegun> take_sum(std::string& word) {
  for (const auto kind : {StateOutput::Kind::mean, StateOutput::Kind::weighted}) {
    const std::string name = word_of(kind);
    if (word == name) {
      word = "all";
      return SumBegun{kind, true};
    }
    if (word.starts_with(name + ":")) {
      word.erase(0, name.size() + 1);
      return SumBegun{kind, false};
    }
  }
  return std::nullopt;
}

template <class Value>
void sort_each_once(std::vector<Value>& values) {
  std::sort(values.begin(), values.end());
  values.erase(std::unique(values.begin(), values.end()), values.end());
}

}  // namespace

std::string StateOutput::text() const {
  if (kind == Kind::last_hidden_state) return "last_hidden_state";
  return is_sum() ? word_of(kind) + ":" + list_text(states) : list_text(states);
}

std::string StateOutput::name() const {
  if (kind == Kind::last_hidden_state) return "last_hidden_state";
  // Without a colon, which names of files cannot have everywhere.
  return "hidden_states." + (is_sum() ? word_of(kind) + "." : "") + list_text(states);
}

std::vector<StateOutput> parse_states(const std::string& text, std::int64_t num_hidden_layers) {
  if (text.empty()) return {{}};
  const StateReader reader(num_hidden_layers);
  std::vector<StateOutput> outputs;
  bool is_in_sum = false;
  for (std::string& word : split(text, ',')) {
    const auto sum = take_sum(word);
    if (sum) {
      outputs.push_back({sum->kind});
      is_in_sum = true;
    }
    for (const std::int64_t number : reader.numbers_of(word)) {
      if (is_in_sum) {
        outputs.back().states.push_back(number);
      } else {
        outputs.push_back({StateOutput::Kind::state, {number}});
      }
    }
    if (sum && sum->is_of_all) is_in_sum = false;
  }
  for (StateOutput& output : outputs) sort_each_once(output.states);
  sort_each_once(outputs);
  const auto weighted = std::count_if(outputs.begin(), outputs.end(), [](const auto& output) {
    return output.kind == StateOutput::Kind::weighted;
  });
  if (weighted > 1) {
    throw UsageError("", kStates, "have " + std::to_string(weighted) + " weighted sums",
                     "one, as weights are of one", kStates);
  }
  return outputs;
}

std::string text_of(const std::vector<StateOutput>& outputs) {
  std::string text;
  for (const StateOutput& output : outputs) {
    if (!text.empty()) text += ',';
    text += output.text();
  }
  return text;
}

}  // namespace w2vbert::tool
