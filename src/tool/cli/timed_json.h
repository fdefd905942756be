// Words, characters and segments with their times as JSON.
#pragma once

#include <nlohmann/json.hpp>
#include <vector>

#include "tool/formats/timed_text.h"

namespace w2vbert::tool {

// [{`what`: ..., "start": ..., "end": ..., "score": ...}, ...], without a score where there is
// none.
inline nlohmann::ordered_json timed_json(const std::vector<TimedText>& timed, const char* what) {
  nlohmann::ordered_json list = nlohmann::ordered_json::array();
  for (const TimedText& one : timed) {
    nlohmann::ordered_json& element = list.emplace_back(
        nlohmann::ordered_json{{what, one.text}, {"start", one.start}, {"end", one.end}});
    if (one.score) element["score"] = *one.score;
  }
  return list;
}

}  // namespace w2vbert::tool
