#include "tool/cli/parity_words.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "w2vbert/version.h"

namespace w2vbert::tool {

std::string ulps_text(std::int64_t ulps) {
  return ulps == std::numeric_limits<std::int64_t>::max() ? "nan" : std::to_string(ulps);
}

std::string cosine_text(const Comparison& comparison) {
  return comparison.differing == 0 ? "1" : fmt::format("{:.9f}", comparison.cosine);
}

std::string modules_title(const ParityResult& result) {
  return result.diagnosis ? "modules of the dump, fed from the start"
                          : "modules, each fed with PyTorch's input for it";
}

std::string chain_title(const ParityResult& result) {
  return result.diagnosis ? "outputs of the dump" : "whole model, fed from the start";
}

const char* our_side(const ParityResult& result) { return result.diagnosis ? "dump" : "here"; }

std::string diagnosis_text(const ParityResult& result) {
  if (!result.diagnosis) return "";
  return std::string(name_of(result.diagnosis->kind)) + ": " + result.diagnosis->text;
}

std::string left_out_text(const ParityResult& result) {
  const auto some = [](const std::vector<std::string>& names) {
    constexpr std::size_t kShown = 3;
    std::string text;
    for (std::size_t i = 0; i < std::min(names.size(), kShown); ++i) {
      text += (i == 0 ? "" : ", ") + names[i];
    }
    return text + (names.size() > kShown ? ", ..." : "");
  };
  std::string text;
  if (!result.absent.empty()) {
    text = fmt::format("{} outputs are not in the dump: {}", result.absent.size(),
                       some(result.absent));
  }
  if (!result.unused.empty()) {
    text += fmt::format("{}{} names of the dump are no output's: {}", text.empty() ? "" : "; ",
                        result.unused.size(), some(result.unused));
  }
  return text;
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
  if (result.diagnosis) return ours;  // another engine
  ours["w2vbert"] = version();
  return ours;
}

}  // namespace w2vbert::tool
