// A language model of any kind, or an alphabet.json, and what is decoded with it.
#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "message.h"
#include "w2vbert/core/error.h"
#include "w2vbert/ctc/beam_search.h"

namespace {

using w2vbert::BeamSearchDecoder;
using w2vbert::CtcAlphabet;
using w2vbert::NgramModel;

void score_words(const NgramModel& model, std::string_view bytes) {
  constexpr std::string_view kWords[] = {"<s>", "the",  "cat",   "sat", "on",
                                         "mat", "</s>", "zebra", ""};
  auto state = model.begin_sentence();
  for (std::size_t i = 0; i < 60; ++i) {
    const auto choice =
        i < bytes.size() ? static_cast<unsigned char>(bytes[bytes.size() - 1 - i]) : i;
    const auto score = model.score(state, model.word_id(kWords[choice % std::size(kWords)]));
    if (std::isnan(score.log10_probability) || score.ngram_length > model.order() ||
        score.state.length >= model.order()) {
      std::abort();
    }
    state = choice % 7 == 0 ? model.null_context() : score.state;
  }
}

void decode(const BeamSearchDecoder& decoder, std::string_view bytes) {
  const std::size_t labels = decoder.alphabet().labels.size();
  if (labels > 64) return;
  std::vector<float> logits(12 * labels);
  for (std::size_t i = 0; i < logits.size(); ++i) {
    logits[i] = static_cast<float>(static_cast<unsigned char>(bytes[i % bytes.size()]) % 16) / 2;
  }
  w2vbert::BeamSearchOptions options;
  options.beam_width = 8;
  options.prune_history = bytes.size() % 2 == 0;
  options.hotwords = {"the", "ab"};
  const auto hypotheses = decoder.decode(logits, options);
  if (hypotheses.empty() || hypotheses.size() > 8) std::abort();
  double last = hypotheses.front().lm_score;
  for (const auto& hypothesis : hypotheses) {
    if (!(hypothesis.lm_score <= last)) std::abort();
    last = hypothesis.lm_score;
    for (const auto& word : hypothesis.words) {
      if (word.text.empty() || word.end_frame > 12) std::abort();
    }
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view bytes(reinterpret_cast<const char*>(data), size);
  if (bytes.empty()) return 0;
  try {
    if (bytes.front() == '{') {
      decode(BeamSearchDecoder(CtcAlphabet::parse(bytes, "alphabet.json")), bytes);
    } else {
      NgramModel model = NgramModel::parse(bytes, "model");
      score_words(model, bytes);
      std::vector<std::string> unigrams = model.arpa_unigrams();
      decode(BeamSearchDecoder(CtcAlphabet::build({" ", "t", "h", "e", "c", "a", "<pad>"}),
                               w2vbert::WordLanguageModel(std::move(model), std::move(unigrams))),
             bytes);
    }
  } catch (const w2vbert::Error& error) {
    w2vbert::check_message(error.what());
  }
  return 0;
}
