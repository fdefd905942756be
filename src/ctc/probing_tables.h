// KenLM's hash tables with linear probing (util/probing_hash_table.hh), over bytes that a file or a
// reader of ARPA text owns. Torch-free.
#pragma once

#include <cmath>
#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

#include "ctc/ngram_tables.h"

namespace w2vbert {

// Entries of `stride` bytes, which begin with their key (64 bits); a key of 0 is an empty place.
struct ProbingView {
  const std::byte* entries = nullptr;
  std::uint64_t places = 0;
  std::uint64_t stride = 0;

  const std::byte* at(std::uint64_t place) const { return entries + place * stride; }
  std::uint64_t key(std::uint64_t place) const { return load_value<std::uint64_t>(at(place)); }
  // What follows the key; null for a key that is not there. A table without an empty place, which
  // only a damaged file has, ends as well.
  const std::byte* find(std::uint64_t wanted) const {
    if (places == 0 || wanted == 0) return nullptr;
    std::uint64_t place = wanted % places;
    for (std::uint64_t tries = 0; tries < places; ++tries) {
      const std::uint64_t found = key(place);
      if (found == wanted) return at(place) + sizeof(std::uint64_t);
      if (found == 0) return nullptr;
      if (++place == places) place = 0;
    }
    return nullptr;
  }
};

// KenLM: HashedSearch and ProbingVocabulary. The sign of a stored probability tells whether a
// longer n-gram ends in this one: plus where it does.
class ProbingTables : public NgramTables {
 public:
  struct Walk {
    std::uint64_t key = 0;
    NgramWeights weights;
    bool extends = false;
  };

  std::uint32_t word_id(std::string_view word) const override {
    const std::byte* found = words.find(word_hash(word));
    return found ? load_value<std::uint32_t>(found) : 0;
  }
  NgramWeights unigram(std::uint32_t word) const override { return start(word).weights; }
  NgramModel::Score score(const NgramModel::State& state, std::uint32_t word) const override {
    return score_ngram(*this, state, word);
  }

  Walk start(std::uint32_t word) const {
    Walk walk;
    walk.key = word;
    take(walk, unigrams + unigram_stride * word);
    return walk;
  }
  bool find_middle(Walk& walk, int of_order, std::uint32_t word) const {
    walk.key = combine_word(walk.key, word);
    const std::byte* found = middles[of_order - 2].find(walk.key);
    if (found) take(walk, found);
    return found != nullptr;
  }
  bool find_longest(const Walk& walk, std::uint32_t word, float& log10_probability) const {
    const std::byte* found = longest.find(combine_word(walk.key, word));
    if (found) log10_probability = load_value<float>(found);
    return found != nullptr;
  }

  ProbingView words;
  const std::byte* unigrams = nullptr;  // probability, backoff and, if any, rest cost
  std::uint64_t unigram_stride = 0;
  std::vector<ProbingView> middles;  // from order 2
  ProbingView longest;
  std::shared_ptr<const void> owner;  // of what the views show

 private:
  static void take(Walk& walk, const std::byte* weights) {
    const float probability = load_value<float>(weights);
    walk.extends = !std::signbit(probability);
    walk.weights = {-std::fabs(probability), load_value<float>(weights + sizeof(float))};
  }
};

}  // namespace w2vbert
