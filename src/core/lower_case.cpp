#include <algorithm>
#include <cstdint>
#include <iterator>
#include <optional>
#include <string>
#include <string_view>

#include "core/lower_case_tables.h"
#include "core/text.h"

namespace w2vbert {
namespace {

constexpr std::uint32_t kCapitalSigma = 0x3A3;
constexpr std::uint32_t kSigma = 0x3C3;
constexpr std::uint32_t kFinalSigma = 0x3C2;
constexpr std::uint32_t kCapitalIWithDot = 0x130;
constexpr std::uint32_t kDotAbove = 0x307;

std::uint32_t lower(std::uint32_t value) {
  const auto* run = std::lower_bound(
      std::begin(kLowerCaseRuns), std::end(kLowerCaseRuns), value,
      [](const LowerCaseRun& candidate, std::uint32_t wanted) { return candidate.last < wanted; });
  if (run == std::end(kLowerCaseRuns) || value < run->first) return value;
  if ((value - run->first) % run->step != 0) return value;
  return static_cast<std::uint32_t>(static_cast<std::int64_t>(value) + run->shift);
}

SigmaClass sigma_class(std::uint32_t value) {
  const auto* next = std::upper_bound(std::begin(kSigmaRuns), std::end(kSigmaRuns), value * 4 + 3);
  if (next == std::begin(kSigmaRuns)) return SigmaClass::kOther;
  return static_cast<SigmaClass>(*std::prev(next) & 3);
}

// The class of the first character from `at` on, in steps of `step`, that is not ignored.
SigmaClass neighbour(const std::u32string& text, std::size_t at, std::size_t step) {
  for (std::size_t i = at + step; i < text.size(); i += step) {  // below 0 wraps to the largest
    const SigmaClass kind = sigma_class(text[i]);
    if (kind != SigmaClass::kIgnored) return kind;
  }
  return SigmaClass::kOther;
}

}  // namespace

std::string lower_case(std::string_view text) {
  if (std::none_of(text.begin(), text.end(),
                   [](char c) { return static_cast<signed char>(c) < 0; })) {
    std::string lowered(text);
    for (char& c : lowered) c = c >= 'A' && c <= 'Z' ? static_cast<char>(c + ('a' - 'A')) : c;
    return lowered;
  }
  const std::optional<std::u32string> decoded = utf32_of(text);
  if (!decoded) return std::string(text);
  const std::u32string& characters = *decoded;
  std::string lowered;
  for (std::size_t i = 0; i < characters.size(); ++i) {
    const std::uint32_t value = characters[i];
    if (value == kCapitalSigma) {
      const bool ends_a_word =
          neighbour(characters, i, static_cast<std::size_t>(-1)) == SigmaClass::kCased &&
          neighbour(characters, i, 1) != SigmaClass::kCased;
      append_utf8(lowered, ends_a_word ? kFinalSigma : kSigma);
    } else if (value == kCapitalIWithDot) {
      append_utf8(lowered, 'i');
      append_utf8(lowered, kDotAbove);
    } else {
      append_utf8(lowered, lower(value));
    }
  }
  return lowered;
}

}  // namespace w2vbert
