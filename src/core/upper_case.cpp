#include <algorithm>
#include <cstdint>
#include <iterator>
#include <string>

#include "core/text.h"
#include "core/upper_case_tables.h"

namespace w2vbert {

std::u32string upper_case(std::uint32_t code_point) {
  const auto* special =
      std::lower_bound(std::begin(kUpperCaseSpecials), std::end(kUpperCaseSpecials), code_point,
                       [](const UpperCaseSpecial& candidate, std::uint32_t wanted) {
                         return candidate.character < wanted;
                       });
  if (special != std::end(kUpperCaseSpecials) && special->character == code_point) {
    std::u32string upper;
    for (const std::uint32_t value : special->upper) {
      if (value != 0) upper += static_cast<char32_t>(value);
    }
    return upper;
  }
  const auto* run = std::lower_bound(
      std::begin(kUpperCaseRuns), std::end(kUpperCaseRuns), code_point,
      [](const UpperCaseRun& candidate, std::uint32_t wanted) { return candidate.last < wanted; });
  std::uint32_t value = code_point;
  if (run != std::end(kUpperCaseRuns) && value >= run->first &&
      (value - run->first) % run->step == 0) {
    value = static_cast<std::uint32_t>(static_cast<std::int64_t>(value) + run->shift);
  }
  return std::u32string(1, static_cast<char32_t>(value));
}

}  // namespace w2vbert
