// Decodes ids as JSON, for decode_as_transformers.py: decode_ctc DIRECTORY RELEASE reads one
// sequence of ids a line from stdin, with the tokenizer of that release of transformers; decode_ctc
// --lower makes lines of text lower case.
#include <iostream>
#include <nlohmann/json.hpp>
#include <sstream>
#include <string>
#include <vector>

#include "core/text.h"
#include "w2vbert/config/hf_version.h"
#include "w2vbert/config/wav2vec2_ctc_tokenizer.h"

namespace {

using Json = nlohmann::ordered_json;
using w2vbert::Wav2Vec2CTCTokenizer;

Json to_json(const std::vector<Wav2Vec2CTCTokenizer::Span>& spans) {
  Json list = Json::array();
  for (const auto& span : spans) list.push_back({span.text, span.start_offset, span.end_offset});
  return list;
}

Json decode(const Wav2Vec2CTCTokenizer& tokenizer, const std::string& line) {
  std::istringstream words(line);
  std::vector<std::int64_t> ids;
  for (std::int64_t id = 0; words >> id;) ids.push_back(id);
  try {
    const Wav2Vec2CTCTokenizer::Output output = tokenizer.decode(ids);
    return {{"text", output.text},
            {"chars", to_json(output.char_offsets)},
            {"words", to_json(output.word_offsets)}};
  } catch (const std::exception& error) {
    return {{"error", error.what()}};
  }
}

}  // namespace

int main(int count, char** arguments) {
  if (count != 2 && count != 3) return 2;
  const std::string directory = arguments[1];
  std::string line;
  if (directory == "--lower") {
    while (std::getline(std::cin, line)) std::cout << w2vbert::lower_case(line) << '\n';
    return 0;
  }
  try {
    const auto release = w2vbert::hf_version_of(count == 3 ? arguments[2] : "");
    if (!release) return 2;
    const auto tokenizer = Wav2Vec2CTCTokenizer::from_pretrained(directory, *release);
    while (std::getline(std::cin, line)) std::cout << decode(tokenizer, line).dump() << '\n';
  } catch (const std::exception& error) {
    std::cerr << error.what() << '\n';
    return 1;
  }
}
