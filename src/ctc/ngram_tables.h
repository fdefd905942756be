// What a language model of any kind is for NgramModel: words -> numbers, n-grams -> weights.
// Torch-free.
#pragma once

#include <bit>
#include <cstdint>
#include <cstring>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "w2vbert/ctc/ngram_model.h"

namespace w2vbert {

// KenLM: the sign tells of a backoff of zero whether longer n-grams begin with this one
// (lm/blank.hh).
inline constexpr float kNoExtension = -0.0F;

inline bool has_extension(float backoff) {
  return std::bit_cast<std::uint32_t>(backoff) != std::bit_cast<std::uint32_t>(kNoExtension);
}

struct NgramWeights {
  float log10_probability = 0;
  float backoff = 0;
};

// KenLM: HashForVocab: MurmurHash2, 64-bit version A, seed 0 (Austin Appleby, public domain).
std::uint64_t word_hash(std::string_view word);

// KenLM: CombineWordHash (lm/search_hashed.hh): the key of an n-gram, from its newest word to its
// oldest.
inline std::uint64_t combine_word(std::uint64_t key, std::uint32_t word) {
  return (key * 8978948897894561157U) ^ ((std::uint64_t{1} + word) * 17894857484156487943U);
}

template <typename T>
T load_value(const std::byte* from) {
  T value;
  std::memcpy(&value, from, sizeof(value));
  return value;
}

class NgramTables {
 public:
  virtual ~NgramTables() = default;
  virtual std::uint32_t word_id(std::string_view word) const = 0;
  virtual NgramWeights unigram(std::uint32_t word) const = 0;
  virtual NgramModel::Score score(const NgramModel::State& state, std::uint32_t word) const = 0;

  int order = 0;
  std::string kind;
  std::uint32_t begin_sentence = 0;
  std::vector<std::string> arpa_unigrams;
};

// KenLM: GenericModel::FullScore (lm/model.cc). `Tables` walks from the newest word to the oldest:
//   start(word) -> Walk, with `weights` and `extends`: whether anything longer ends in it
//   find_middle(walk, order, word): goes on to the n-gram of `order` words; false where there is
//   none find_longest(walk, word, probability): the same for the longest n-grams
template <typename Tables>
NgramModel::Score score_ngram(const Tables& tables, const NgramModel::State& state,
                              std::uint32_t word) {
  NgramModel::Score result;
  NgramModel::State& next = result.state;
  auto walk = tables.start(word);
  result.log10_probability = walk.weights.log10_probability;
  result.ngram_length = 1;
  next.words[0] = word;
  next.backoffs[0] = walk.weights.backoff;
  next.length = has_extension(walk.weights.backoff) ? 1 : 0;
  for (int known = 0; known < state.length && walk.extends; ++known) {
    const int order = known + 2;
    if (order == tables.order) {
      float probability = 0;
      if (tables.find_longest(walk, state.words[known], probability)) {
        result.log10_probability = probability;
        result.ngram_length = order;
      }
      break;
    }
    if (!tables.find_middle(walk, order, state.words[known])) break;
    result.log10_probability = walk.weights.log10_probability;
    result.ngram_length = order;
    next.backoffs[order - 1] = walk.weights.backoff;
    if (has_extension(walk.weights.backoff)) next.length = static_cast<std::uint8_t>(order);
  }
  for (int i = 1; i < next.length; ++i) next.words[i] = state.words[i - 1];
  for (int i = result.ngram_length - 1; i < state.length; ++i) {
    result.log10_probability += state.backoffs[i];
  }
  return result;
}

// ARPA text, plain or compressed: src/ctc/arpa.cpp. `next` gives its bytes in blocks, an empty one
// at the end.
class ByteBlocks {
 public:
  virtual ~ByteBlocks() = default;
  virtual std::string_view next() = 0;
};
std::shared_ptr<NgramTables> read_arpa(ByteBlocks& blocks, const std::string& path);

// A binary file of KenLM: src/ctc/kenlm_binary.cpp.
bool is_kenlm_binary(std::string_view first_bytes);
std::shared_ptr<NgramTables> read_kenlm_binary(std::unique_ptr<std::byte[]> bytes,
                                               std::uint64_t size, const std::string& path);

// Hash tables, in a file or made from ARPA text: src/ctc/probing_tables.h.

}  // namespace w2vbert
