// The texts and the unfinished words of a beam search. Torch-free.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "w2vbert/ctc/ngram_model.h"
#include "w2vbert/ctc/word_language_model.h"

namespace w2vbert {

// pyctcdecode: HotwordScorer.
class HotwordScorer {
 public:
  HotwordScorer() = default;
  // Throws UsageError: text that is not UTF-8.
  HotwordScorer(const std::vector<std::string>& hotwords, double weight);
  bool empty() const { return words_.empty(); }
  bool contains(std::string_view word) const;
  // pyctcdecode: the whole word's weight, by the characters that are there, for the shortest
  // hotword of those from `begin` to before `end`.
  double partial_score(std::size_t begin, std::size_t end, std::int64_t characters) const;
  double weight() const { return weight_; }
  const std::vector<std::string>& words() const { return words_; }  // ascending

 private:
  std::vector<std::string> words_;
  double weight_ = 0;
};

// Strings that grow at their end, each once. A number stands for a string: 0 is the empty one.
//
// pyctcdecode keeps each hypothesis as a text and, beside it, the word that has begun; equal
// strings are one hypothesis. Here a word is a chain of labels, a text a chain of words, and equal
// strings have one number however they were spelled, so that comparing and extending take no time.
// What no hypothesis has any more is forgotten (collect()).
class HypothesisStore {
 public:
  HypothesisStore(const std::vector<std::string>& labels, const WordLanguageModel* language_model,
                  const HotwordScorer& hotwords, int history_words);

  // The word `word` with a label more; `label`: an index into the constructor's labels.
  int extend_word(int word, int label);
  // pyctcdecode: _merge_tokens.
  int extend_text(int text, int word);

  // pyctcdecode: what is added to a score for an unfinished word.
  double partial_score(int word) const { return words_[word].partial_score; }
  // pyctcdecode: lm_hw_score, what the texts' words give.
  double text_score(int text) const { return texts_[text].score; }
  // The same for the whole text with `word` as its last word, at the end.
  double final_score(int text, int word);
  // What of the text further scores depend on (pyctcdecode: _prune_history).
  int history(int text) const { return texts_[text].history; }
  std::string text(int text) const;

  // Whether so much has gathered that collect() is worth its time.
  bool is_full() const { return words_.size() > word_limit_ || texts_.size() > text_limit_; }
  // Forgets all but these, and what they are made of; changes their numbers.
  void collect(std::span<int*> texts, std::span<int*> words);

 private:
  struct Word {
    int parent = 0;
    int label = 0;
    std::uint64_t hash = 0;
    std::int64_t characters = 0;
    std::size_t bytes = 0;
    // The words that begin with it: of the language model, of the hotwords.
    std::size_t unigrams_begin = 0;
    std::size_t unigrams_end = 0;
    std::size_t hotwords_begin = 0;
    std::size_t hotwords_end = 0;
    double partial_score = 0;
    bool has_entry = false;  // whether the following is known
    bool is_known = false;
    std::uint32_t model_id = 0;
  };
  struct Text {
    int parent = 0;
    std::string word;
    std::uint64_t hash = 0;
    int history = 0;
    std::int64_t hotwords = 0;  // in it
    double score = 0;           // with hotwords
    double model_score = 0;
    NgramModel::State state;
  };
  using PairMap = std::unordered_map<std::uint64_t, int>;

  std::string word_string(int word) const;
  int add_word(int parent, int label, std::uint64_t hash);
  // The score of `word` after `state`, and what it leads to (pyctcdecode: LanguageModel.score).
  double score_word(int word, NgramModel::State& state, bool is_last);
  std::int64_t count_hotwords(std::string_view word) const;
  int history_of(int parent, std::string_view word);
  static std::uint64_t pair_of(int first, int second);
  template <typename IsEqual>
  static int find_hash(const PairMap& map, std::uint64_t& key, const IsEqual& is_equal);

  const std::vector<std::string>& labels_;
  std::vector<std::int64_t> label_characters_;
  const WordLanguageModel* language_model_;
  const HotwordScorer& hotwords_;
  int history_words_;
  std::vector<Word> words_;
  std::vector<Text> texts_;
  PairMap word_steps_;  // (word, label) -> word
  PairMap words_by_hash_;
  PairMap text_steps_;  // (text, word) -> text
  PairMap texts_by_hash_;
  std::unordered_map<std::string, int> histories_;
  std::size_t word_limit_;
  std::size_t text_limit_;
};

}  // namespace w2vbert
