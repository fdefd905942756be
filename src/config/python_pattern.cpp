#include "config/python_pattern.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include <algorithm>
#include <array>
#include <new>
#include <utility>

namespace w2vbert {
namespace {

constexpr std::size_t kMaxBytes = 16 << 10;
constexpr std::uint32_t kParenthesesLimit = 1000;  // more than python_to_pcre2 lets through
constexpr std::uint32_t kMaxHeapKib = 16 << 10;
// Compiling is paid for, too: a few characters, repeated, can make 64 KiB of code.
constexpr std::uint64_t kStepsOfCompiledByte = 8;
constexpr std::uint32_t kFirstLimit = 64;
constexpr std::uint32_t kLimitGrowth = 4;
constexpr std::uint64_t kMaxLimit = 1U << 30;
constexpr std::uint32_t kGroupsOfAStep = 8;

struct Free {
  void operator()(pcre2_compile_context* context) const { pcre2_compile_context_free(context); }
  void operator()(pcre2_match_context* context) const { pcre2_match_context_free(context); }
};

PCRE2_SPTR units(std::string_view text) { return reinterpret_cast<PCRE2_SPTR>(text.data()); }

template <typename T>
std::unique_ptr<T, Free> owned(T* made) {
  if (!made) throw std::bad_alloc();
  return std::unique_ptr<T, Free>(made);
}

std::string message_of(int error) {
  std::array<PCRE2_UCHAR, 256> buffer{};
  pcre2_get_error_message(error, buffer.data(), buffer.size());
  return reinterpret_cast<const char*>(buffer.data());
}

}  // namespace

void MatchBudget::spend(std::uint64_t steps) {
  left_ -= std::min(left_, steps);
  if (left_ == 0) throw PatternError("takes too long to match");
}

struct PythonPattern::Match {
  bool found = false;
  std::shared_ptr<pcre2_match_data> data;
};

PythonPattern::PythonPattern(std::string_view python, std::shared_ptr<MatchBudget> budget)
    : text_(python), budget_(std::move(budget)) {
  if (python.size() > kMaxBytes) {
    throw PatternError("has " + std::to_string(python.size()) + " bytes, more than " +
                       std::to_string(kMaxBytes));
  }
  Pcre2Pattern pattern = python_to_pcre2(python);
  groups_ = std::move(pattern.groups);
  const auto context = owned(pcre2_compile_context_create(nullptr));
  pcre2_set_newline(context.get(), PCRE2_NEWLINE_LF);
  pcre2_set_parens_nest_limit(context.get(), kParenthesesLimit);
  int error = 0;
  PCRE2_SIZE at = 0;
  code_.reset(pcre2_compile(units(pattern.text), pattern.text.size(), PCRE2_UTF | PCRE2_UCP, &error,
                            &at, context.get()),
              [](const pcre2_code* code) { pcre2_code_free(const_cast<pcre2_code*>(code)); });
  if (!code_ && error == PCRE2_ERROR_NOMEMORY) throw std::bad_alloc();
  if (!code_) throw PatternError("does not compile: " + message_of(error));
  std::size_t compiled_bytes = 0;
  std::uint32_t groups = 0;
  pcre2_pattern_info(code_.get(), PCRE2_INFO_SIZE, &compiled_bytes);
  pcre2_pattern_info(code_.get(), PCRE2_INFO_CAPTURECOUNT, &groups);
  steps_of_one_ = 1 + groups / kGroupsOfAStep;
  budget_->spend(kStepsOfCompiledByte * compiled_bytes);
}

// PCRE2 does not say how many steps a match took, only that a limit was reached. So the limit
// grows until the match ends, and what was allowed is what is paid: the same on every machine.
PythonPattern::Match PythonPattern::run(std::string_view text, std::uint32_t options) const {
  const auto context = owned(pcre2_match_context_create(nullptr));
  pcre2_set_heap_limit(context.get(), kMaxHeapKib);
  Match match;
  match.data.reset(pcre2_match_data_create_from_pattern(code_.get(), nullptr),
                   pcre2_match_data_free);
  if (!match.data) throw std::bad_alloc();
  for (std::uint32_t limit = kFirstLimit;; limit *= kLimitGrowth) {
    budget_->spend(limit * steps_of_one_);
    pcre2_set_match_limit(context.get(), limit);
    pcre2_set_depth_limit(context.get(), limit);
    const int result = pcre2_match(code_.get(), units(text), text.size(), 0,
                                   PCRE2_ANCHORED | options, match.data.get(), context.get());
    match.found = result > 0;
    if (match.found || result == PCRE2_ERROR_NOMATCH) return match;
    if (result == PCRE2_ERROR_NOMEMORY) throw std::bad_alloc();
    const bool too_short = result == PCRE2_ERROR_MATCHLIMIT || result == PCRE2_ERROR_DEPTHLIMIT;
    if (result == PCRE2_ERROR_HEAPLIMIT || (too_short && limit > kMaxLimit / kLimitGrowth)) {
      throw PatternError("takes too long to match");
    }
    if (!too_short) throw PatternError("cannot be matched: " + message_of(result));
  }
}

bool PythonPattern::fullmatch(std::string_view text) const {
  return run(text, PCRE2_ENDANCHORED).found;
}

bool PythonPattern::match(std::string_view text) const { return run(text, 0).found; }

std::optional<std::string> PythonPattern::group_of_match(std::string_view text,
                                                         const std::string& group) const {
  const Match match = run(text, 0);
  const auto number = groups_.find(group);
  if (!match.found || number == groups_.end()) return std::nullopt;
  const auto index = static_cast<std::uint32_t>(number->second);
  const PCRE2_SIZE* places = pcre2_get_ovector_pointer(match.data.get());
  if (index >= pcre2_get_ovector_count(match.data.get()) || places[2 * index] == PCRE2_UNSET) {
    return std::nullopt;
  }
  return std::string(text.substr(places[2 * index], places[2 * index + 1] - places[2 * index]));
}

}  // namespace w2vbert
