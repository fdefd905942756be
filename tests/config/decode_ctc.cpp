// Decodes ids as JSON, for decode_as_transformers.py: decode_ctc DIRECTORY RELEASE reads one
// sequence of ids a line from stdin, with the tokenizer of that release of transformers, or, of a
// line that is a JSON string, encodes it; decode_ctc --lower or --upper makes lines of text lower
// or upper case.
#include <iostream>
#include <nlohmann/json.hpp>
#include <sstream>
#include <string>
#include <string_view>
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

// What a text encodes to: the ids, the texts of the tokens, and which are unknown.
Json encode(const Wav2Vec2CTCTokenizer& tokenizer, const std::string& text) {
  try {
    Json ids = Json::array(), sources = Json::array(), unknown = Json::array();
    for (const auto& token : tokenizer.encode(text)) {
      ids.push_back(token.id);
      sources.push_back(text.substr(token.begin, token.end - token.begin));
      unknown.push_back(token.is_unknown);
    }
    return {{"ids", ids}, {"sources", sources}, {"unknown", unknown}};
  } catch (const std::exception& error) {
    return {{"error", error.what()}};
  }
}

std::string upper_case_of(std::string_view text) {
  std::string upper;
  while (!text.empty()) {
    const std::size_t length = w2vbert::utf8_character_length(text);
    for (const char32_t c : w2vbert::upper_case(w2vbert::code_point(text.substr(0, length)))) {
      w2vbert::append_utf8(upper, c);
    }
    text.remove_prefix(length);
  }
  return upper;
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
  if (directory == "--upper") {
    while (std::getline(std::cin, line)) std::cout << upper_case_of(line) << '\n';
    return 0;
  }
  try {
    const auto release = w2vbert::hf_version_of(count == 3 ? arguments[2] : "");
    if (!release) return 2;
    const auto tokenizer = Wav2Vec2CTCTokenizer::from_pretrained(directory, *release);
    while (std::getline(std::cin, line)) {
      const bool is_text = line.starts_with('"');
      const Json answer = is_text ? encode(tokenizer, Json::parse(line).get<std::string>())
                                  : decode(tokenizer, line);
      std::cout << answer.dump() << '\n';
    }
  } catch (const std::exception& error) {
    std::cerr << error.what() << '\n';
    return 1;
  }
}
