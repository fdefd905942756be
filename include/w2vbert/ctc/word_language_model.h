// A language model of words in a beam search. Torch-free.
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "w2vbert/ctc/ngram_model.h"

namespace w2vbert {

/// pyctcdecode: LanguageModel: an n-gram model, the words that are known, and how both count.
class WordLanguageModel {
 public:
  /// pyctcdecode: attrs.json, with its defaults.
  struct Settings {
    double alpha = 0.5;               ///< weight of the n-gram model
    double beta = 1.5;                ///< for each word
    double unk_score_offset = -10.0;  ///< log10, for a word that is not known
    bool score_boundary = true;  ///< the text is a sentence: it begins with `<s>`, ends with `</s>`
  };

  /// `unigrams`: the known words, of which those that the model does not have are left out; empty:
  /// all words of the model are known, and no beginning of a word is.
  explicit WordLanguageModel(NgramModel model, std::vector<std::string> unigrams = {});
  WordLanguageModel(NgramModel model, std::vector<std::string> unigrams, Settings given);

  /// Reads what pyctcdecode's save_to_dir writes, or Wav2Vec2ProcessorWithLM's save_pretrained in
  /// its folder language_model: attrs.json, unigrams.txt (UTF-8) and one file that ends in .arpa,
  /// .bin or .binary, or in .arpa.gz; hidden files and such as begin with "__" count as absent.
  /// Throws ConfigError with path and key: one of the three is missing, anything else is there, a
  /// key that is missing or unknown.
  static WordLanguageModel from_directory(const std::string& directory);

  /// pyctcdecode: build_ctcdecoder(kenlm_model_path): a file by itself, with the settings'
  /// defaults. The known words are those of ARPA text.
  static WordLanguageModel from_file(const std::string& path);

  const NgramModel& model() const { return model_; }
  Settings settings;

  /// The known words that are in the model, ascending by their bytes.
  const std::vector<std::string>& unigrams() const { return unigrams_; }
  /// pyctcdecode: whether the word has its score without unk_score_offset.
  bool is_known(std::string_view word) const;

 private:
  NgramModel model_;
  std::vector<std::string> unigrams_;
};

}  // namespace w2vbert
