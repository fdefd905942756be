// Words and their times as JSON.
#pragma once

#include <nlohmann/json.hpp>
#include <vector>

#include "tool/tasks/transcription.h"

namespace w2vbert::tool {

// [{"word": ..., "start": ..., "end": ...}, ...]
inline nlohmann::ordered_json words_json(const std::vector<TimedWord>& timed) {
  nlohmann::ordered_json words = nlohmann::ordered_json::array();
  for (const TimedWord& word : timed) {
    words.push_back({{"word", word.word}, {"start", word.start}, {"end", word.end}});
  }
  return words;
}

}  // namespace w2vbert::tool
