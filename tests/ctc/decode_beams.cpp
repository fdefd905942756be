// Decodes emissions, for decode_as_pyctcdecode.py: `decode_beams DIRECTORY|MODEL`. MODEL is a
// language model by itself. Each line of stdin is a JSON object with frames, file (float32 values,
// row by row) and options; for each an object with the hypotheses and the seconds is printed. The
// first line is
// {"tokens": [...]} for a MODEL, or {}, perhaps with settings of the language model.
#include <chrono>
#include <cstdio>
#include <fstream>
#include <iostream>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "w2vbert/core/error.h"
#include "w2vbert/ctc/beam_search.h"

namespace {

using nlohmann::json;
using w2vbert::BeamSearchDecoder;
using w2vbert::CtcAlphabet;
using w2vbert::WordLanguageModel;

BeamSearchDecoder make_decoder(const std::string& path, const json& first) {
  if (!first.contains("tokens")) return BeamSearchDecoder::from_pretrained(path);
  auto alphabet = CtcAlphabet::build(first["tokens"].get<std::vector<std::string>>());
  if (path.empty()) return BeamSearchDecoder(std::move(alphabet));
  return BeamSearchDecoder(std::move(alphabet), WordLanguageModel::from_file(path));
}

json decode(const BeamSearchDecoder& decoder, const json& request) {
  std::ifstream file(request["file"].get<std::string>(), std::ios::binary);
  std::vector<float> logits(request["frames"].get<std::size_t>() *
                            decoder.alphabet().labels.size());
  file.read(reinterpret_cast<char*>(logits.data()),
            static_cast<std::streamsize>(logits.size() * sizeof(float)));
  w2vbert::BeamSearchOptions options;
  const json& given = request["options"];
  options.beam_width = given.value("beam_width", options.beam_width);
  options.beam_prune_logp = given.value("beam_prune_logp", options.beam_prune_logp);
  options.token_min_logp = given.value("token_min_logp", options.token_min_logp);
  options.prune_history = given.value("prune_history", options.prune_history);
  options.hotwords = given.value("hotwords", options.hotwords);
  options.hotword_weight = given.value("hotword_weight", options.hotword_weight);
  const auto begin = std::chrono::steady_clock::now();
  const auto hypotheses = decoder.decode(logits, options);
  const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - begin;
  json answer = {{"seconds", seconds.count()}, {"hypotheses", json::array()}};
  for (const auto& hypothesis : hypotheses) {
    json words = json::array();
    for (const auto& word : hypothesis.words) {
      words.push_back({word.text, {word.start_frame, word.end_frame}});
    }
    answer["hypotheses"].push_back(
        {hypothesis.text, words, hypothesis.logit_score, hypothesis.lm_score});
  }
  return answer;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 2) return 2;
  try {
    std::string line;
    std::getline(std::cin, line);
    const json first = json::parse(line);
    BeamSearchDecoder decoder = make_decoder(argv[1], first);
    if (decoder.language_model()) {
      auto& settings = decoder.language_model()->settings;
      settings.alpha = first.value("alpha", settings.alpha);
      settings.beta = first.value("beta", settings.beta);
      settings.unk_score_offset = first.value("unk_score_offset", settings.unk_score_offset);
      settings.score_boundary = first.value("score_boundary", settings.score_boundary);
    }
    std::printf("%s\n",
                json{{"labels", decoder.alphabet().labels}, {"is_bpe", decoder.alphabet().is_bpe}}
                    .dump()
                    .c_str());
    while (std::getline(std::cin, line)) {
      std::printf("%s\n", decode(decoder, json::parse(line)).dump().c_str());
    }
  } catch (const w2vbert::Error& error) {
    std::fprintf(stderr, "error: %s\n", error.what());
    return 4;
  }
}
