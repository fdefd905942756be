// Prints what a language model says, for score_as_kenlm.py: `score_ngrams MODEL`. Each line of
// stdin is a sentence of words, after "<s> " where it begins with the begin of a sentence: for each
// word its score's bits, the length of its n-gram and of the state, and its number.
#include <bit>
#include <cstdint>
#include <cstdio>
#include <iostream>
#include <sstream>
#include <string>

#include "w2vbert/core/error.h"
#include "w2vbert/ctc/ngram_model.h"

int main(int argc, char** argv) {
  if (argc != 2) return 2;
  try {
    const auto model = w2vbert::NgramModel::load(argv[1]);
    std::printf("%d %s\n", model.order(), model.kind().c_str());
    for (std::string line; std::getline(std::cin, line);) {
      auto state = model.null_context();
      if (line.starts_with("<s> ")) {
        state = model.begin_sentence();
        line.erase(0, 4);
      }
      std::istringstream words(line);
      for (std::string word; words >> word;) {
        const auto score = model.score(state, model.word_id(word));
        std::printf("%08x %d %d %d ", std::bit_cast<std::uint32_t>(score.log10_probability),
                    score.ngram_length, score.state.length, model.contains(word) ? 1 : 0);
        state = score.state;
      }
      std::printf("\n");
    }
  } catch (const w2vbert::Error& error) {
    std::fprintf(stderr, "error: %s\n", error.what());
    return 4;
  }
}
