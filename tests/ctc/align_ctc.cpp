// Aligns what align_as_torchaudio.py writes to stdin: for each case a line of
// "FRAMES VOCAB_SIZE TARGETS BLANK", then float32 values and int64 targets as they are in memory.
// Prints a line of JSON for each: the path, the bits of its scores, and the merged tokens.
#include <bit>
#include <cstdint>
#include <exception>
#include <iostream>
#include <nlohmann/json.hpp>
#include <sstream>
#include <string>
#include <vector>

#include "w2vbert/ctc/forced_align.h"

namespace {

template <typename Value>
std::vector<Value> read_values(std::int64_t count) {
  std::vector<Value> values(static_cast<std::size_t>(count));
  std::cin.read(reinterpret_cast<char*>(values.data()),
                static_cast<std::streamsize>(values.size() * sizeof(Value)));
  return values;
}

}  // namespace

int main() {
  using Json = nlohmann::ordered_json;
  for (std::string line; std::getline(std::cin, line);) {
    std::istringstream numbers(line);
    std::int64_t frames = 0, vocab_size = 0, length = 0, blank = 0;
    numbers >> frames >> vocab_size >> length >> blank;
    const auto log_probs = read_values<float>(frames * vocab_size);
    const auto targets = read_values<std::int64_t>(length);
    Json answer;
    try {
      const auto alignment = w2vbert::forced_align(log_probs, vocab_size, targets, blank);
      Json scores = Json::array();
      for (const float score : alignment.scores) {
        scores.push_back(std::bit_cast<std::uint32_t>(score));
      }
      Json spans = Json::array();
      for (const auto& span : w2vbert::merge_tokens(alignment.path, alignment.scores, blank)) {
        spans.push_back({span.token, span.start, span.end, span.score});
      }
      answer = {{"path", alignment.path}, {"scores", scores}, {"spans", spans}};
    } catch (const std::exception& error) {
      answer = {{"error", error.what()}};
    }
    std::cout << answer.dump() << '\n';
  }
}
