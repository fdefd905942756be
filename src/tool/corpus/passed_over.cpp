#include "tool/corpus/passed_over.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "core/text.h"

namespace w2vbert::tool {
namespace {

constexpr std::size_t kMaxKindsInNote = 12;
constexpr std::size_t kMaxEndingBytes = 16;  // what is longer is no ending, but part of the name

}  // namespace

void PassedOver::add_file(const std::string& name) {
  const std::size_t dot = name.rfind('.');
  std::string ending = dot == std::string::npos ? "" : lower_case(name.substr(dot));
  const bool is_ending = ending.size() > 1 && ending.size() <= kMaxEndingBytes;
  add(is_ending ? quote_bytes(ending) : "without an ending");
}

std::string PassedOver::text() const {
  std::vector<std::pair<std::size_t, std::string>> kinds;
  for (const auto& [kind, count] : counts_) kinds.emplace_back(count, kind);
  std::stable_sort(kinds.begin(), kinds.end(),
                   [](const auto& a, const auto& b) { return a.first > b.first; });
  std::vector<std::string> words;
  std::size_t others = 0;
  for (const auto& [count, kind] : kinds) {
    if (words.size() < kMaxKindsInNote) {
      words.push_back(std::to_string(count) + " " + kind);
    } else {
      others += count;
    }
  }
  if (others > 0) words.push_back(std::to_string(others) + " of other kinds");
  return comma_list(words);
}

}  // namespace w2vbert::tool
