#include "tool/cli/parity_words.h"

#include <fmt/format.h>

#include <cmath>
#include <limits>

#include "w2vbert/version.h"

namespace w2vbert::tool {

std::string short_number(double number) {
  return number == 0 ? "0" : fmt::format("{:.3g}", number);
}

std::string ulps_text(std::int64_t ulps) {
  return ulps == std::numeric_limits<std::int64_t>::max() ? "nan" : std::to_string(ulps);
}

std::string cosine_text(const Comparison& comparison) {
  return comparison.differing == 0 ? "1" : fmt::format("{:.9f}", comparison.cosine);
}

std::string count_text(const ParityResult& result) {
  std::string text = fmt::format("{} module outputs, {} outputs of the whole model",
                                 result.modules.size(), result.chain.size());
  if (!result.gradients.empty()) text += fmt::format(", {} gradients", result.gradients.size());
  return text + fmt::format(": {} values, {} differ", result.values(), result.differing());
}

std::string tolerance_text(const ParityTolerance& tolerance) {
  if (std::isinf(tolerance.module)) return "anything finite";
  if (tolerance.module == tolerance.chain) return short_number(tolerance.module);
  return fmt::format("{} a module, {} the whole model", short_number(tolerance.module),
                     short_number(tolerance.chain));
}

std::string verdict(const ParityResult& result) {
  if (!result.missing.empty()) return "missing here: " + result.missing.front();
  const ParityRow* first = result.first_outside();
  if (first) return "first outside its tolerance: " + first->name;
  return result.differing() == 0 ? "every bit is PyTorch's" : "everything is within its tolerance";
}

std::string why_empty(const ParityRow& row) {
  return row.error.empty() ? "another shape" : row.error;
}

bool has_numbers(const ParityRow& row) { return row.error.empty() && row.comparison.same_shape; }

Settings ours_with_version(const ParityResult& result) {
  auto ours = result.ours;
  ours["w2vbert"] = version();
  return ours;
}

}  // namespace w2vbert::tool
