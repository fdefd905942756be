// Regular expressions with the meaning that Python's re gives them, matched by PCRE2. Torch-free.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "config/python_to_pcre2.h"

struct pcre2_real_code_8;  // pcre2.h: pcre2_code

namespace w2vbert {

// What all expressions of one file may cost together. An expression can take longer than the world
// stands, and a thousand of them can take a second each.
class MatchBudget {
 public:
  // Counts steps of PCRE2's matcher. Throws PatternError when there are no more of them.
  void spend(std::uint64_t steps);
  std::uint64_t left() const { return left_; }

 private:
  static constexpr std::uint64_t kSteps = 200'000'000;  // some seconds
  std::uint64_t left_ = kSteps;
};

// For names of modules, which are ASCII. One thread at a time may use the expressions of a budget.
class PythonPattern {
 public:
  // Throws PatternError for what Python does not take, for what PCRE2 does not know, and for more
  // than 16 KiB.
  PythonPattern(std::string_view python, std::shared_ptr<MatchBudget> budget);

  const std::string& text() const { return text_; }  // as it was given

  // re.fullmatch and re.match. All throw PatternError for an expression that takes too long.
  bool fullmatch(std::string_view text) const;
  bool match(std::string_view text) const;
  // The text of the named group in re.match; nothing where there is no match, or none of the group.
  std::optional<std::string> group_of_match(std::string_view text, const std::string& group) const;

 private:
  struct Match;
  Match run(std::string_view text, std::uint32_t options) const;

  std::string text_;
  std::shared_ptr<const pcre2_real_code_8> code_;
  std::map<std::string, int> groups_;
  std::uint64_t steps_of_one_ = 1;  // what a step costs: each copies what the groups have matched
  std::shared_ptr<MatchBudget> budget_;
};

}  // namespace w2vbert
