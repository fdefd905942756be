// Writes what read_formats.py asks for on stdin, a line of JSON each: {"format", "name", "seconds",
// "tiers": [[name, [[text, start, end, score or null], ...]], ...], "cue_characters"}; answers with
// the text as a JSON string on one line. A name is a list of bytes.
#include <iostream>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "tool/formats/timed_text.h"

namespace {

using Json = nlohmann::json;
using namespace w2vbert::tool;

std::vector<TimedText> labels_of(const Json& list) {
  std::vector<TimedText> labels;
  for (const Json& label : list) {
    TimedText& timed = labels.emplace_back();
    timed.text = label[0].get<std::string>();
    timed.start = label[1].get<double>();
    timed.end = label[2].get<double>();
    if (!label[3].is_null()) timed.score = label[3].get<double>();
  }
  return labels;
}

std::string answer_to(const Json& asked) {
  const std::string format = asked["format"].get<std::string>();
  std::string file;
  for (const Json& byte : asked["name"]) file += static_cast<char>(byte.get<int>());
  std::vector<std::vector<TimedText>> lists;
  for (const Json& tier : asked["tiers"]) lists.push_back(labels_of(tier[1]));
  const std::vector<TimedText>& first = lists.front();
  if (format == "ctm") return ctm_text(file, 1, first);
  if (format == "rttm") return rttm_text(file, 1, first);
  if (format == "audacity") return audacity_text(first);
  if (format == "textgrid") {
    std::vector<LabelTier> tiers;
    for (std::size_t i = 0; i < lists.size(); ++i) {
      tiers.push_back({asked["tiers"][i][0].get<std::string>(), lists[i]});
    }
    return textgrid_text(tiers, asked["seconds"].get<double>());
  }
  const std::vector<TimedText> cues =
      cues_of(first, {.max_characters = asked["cue_characters"].get<std::size_t>()});
  return format == "srt" ? srt_text(cues) : vtt_text(cues);
}

}  // namespace

int main() {
  for (std::string line; std::getline(std::cin, line);) {
    std::cout << Json(answer_to(Json::parse(line))).dump() << '\n';
  }
}
