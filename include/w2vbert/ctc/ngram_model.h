// n-gram language models, as KenLM reads them. Torch-free.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace w2vbert {

class NgramTables;

/// KenLM: lm::ngram::base::Model, as Python's kenlm.Model makes it from a file. The scores are
/// KenLM's to the last bit: float32, log10.
///
/// A model is in memory as a whole, may be used by several threads at once, and is cheap to copy:
/// the copies share it.
class NgramModel {
 public:
  /// n-grams of up to 10 words; kenlm from PyPI has 6.
  static constexpr int kMaxOrder = 10;

  /// What the next word's score depends on: the words before, the newest first.
  struct State {
    std::array<std::uint32_t, kMaxOrder - 1> words{};
    std::array<float, kMaxOrder - 1> backoffs{};  ///< log10, of the n-grams of the words
    std::uint8_t length = 0;
    bool operator==(const State& other) const;  ///< KenLM: by the words
  };
  /// KenLM: FullScoreReturn, and the state after the word.
  struct Score {
    float log10_probability = 0;
    int ngram_length = 0;  ///< words of the n-gram that was found
    State state;
  };

  /// Reads ARPA text, also compressed by gzip, or a binary file of KenLM (format version 5):
  /// probing, probing with rest costs, trie, and tries that are quantised, array-compressed, or
  /// both. What it is, is told by its bytes. Sizes are checked against the file before anything is
  /// allocated, and each entry before the first score. Of an n-gram that stands twice the first one
  /// counts. Throws ConfigError with path and place: damaged, not such a file, an order below 2 or
  /// above kMaxOrder, a probability above 1 or that is not finite, no `<s>` or `</s>` in ARPA text.
  static NgramModel load(const std::string& path);
  /// The same of a file's content that is in memory; `path` is for messages.
  static NgramModel parse(std::string_view bytes, const std::string& path);

  int order() const;  ///< words of the longest n-grams
  /// "ARPA", "probing", "trie", ..., for messages.
  const std::string& kind() const;
  /// The number of a word (UTF-8); 0, `<unk>`, for one that is not in the model.
  std::uint32_t word_id(std::string_view word) const;
  bool contains(std::string_view word) const { return word_id(word) != 0; }
  State begin_sentence() const;                   ///< KenLM: BeginSentenceWrite
  State null_context() const { return State{}; }  ///< KenLM: NullContextWrite
  /// KenLM: BaseFullScore. `word`: a number that word_id() gave.
  Score score(const State& state, std::uint32_t word) const;

  /// pyctcdecode: load_unigram_set_from_arpa: the words of ARPA text that have a backoff, in its
  /// order; empty for a binary file.
  const std::vector<std::string>& arpa_unigrams() const;

 private:
  explicit NgramModel(std::shared_ptr<const NgramTables> tables);
  std::shared_ptr<const NgramTables> tables_;
};

}  // namespace w2vbert
