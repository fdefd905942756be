// From the outputs of a CTC model to the most probable texts, with a language model. Torch-free.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "w2vbert/ctc/ctc_alphabet.h"
#include "w2vbert/ctc/word_language_model.h"

namespace w2vbert {

/// pyctcdecode: the arguments of decode_beams, with its defaults.
struct BeamSearchOptions {
  std::int64_t beam_width = 100;   ///< hypotheses that are kept at each frame, 1 to 65,536
  double beam_prune_logp = -10.0;  ///< worse ones than the best plus this (at most 0) are dropped
  double token_min_logp = -5.0;    ///< labels below this are left out, but for a frame's best
  /// Keeps the best one of hypotheses that the language model will treat alike. So does
  /// pyctcdecode's decode(), but not its decode_beams(), which transformers calls.
  bool prune_history = false;
  std::vector<std::string> hotwords;  ///< UTF-8; each word of one with blanks counts by itself
  double hotword_weight = 10.0;       ///< for each hotword in the text
};

/// pyctcdecode: OutputBeam.
struct BeamHypothesis {
  /// Start to before end; -1 where pyctcdecode has no frame.
  struct Word {
    std::string text;
    std::int64_t start_frame = 0;
    std::int64_t end_frame = 0;
  };
  std::string text;
  std::vector<Word> words;
  double logit_score = 0;  ///< natural logarithm, of all paths that were followed
  double lm_score = 0;     ///< the same with what language model and hotwords add: what is best
};

/// pyctcdecode: BeamSearchDecoderCTC, version 0.5.0 with NumPy 2. It has the same sums in the same
/// order, so its texts and scores are pyctcdecode's but for the last bits of exp and log.
///
/// May be used by several threads at once.
class BeamSearchDecoder {
 public:
  explicit BeamSearchDecoder(CtcAlphabet alphabet,
                             std::optional<WordLanguageModel> language_model = std::nullopt);

  /// pyctcdecode: load_from_dir, as Wav2Vec2ProcessorWithLM calls it: alphabet.json and, if there
  /// is one, the folder language_model. Throws ConfigError with path and key.
  static BeamSearchDecoder from_pretrained(const std::string& directory);

  const CtcAlphabet& alphabet() const { return alphabet_; }
  const std::optional<WordLanguageModel>& language_model() const { return language_model_; }
  std::optional<WordLanguageModel>& language_model() { return language_model_; }

  /// pyctcdecode: decode_beams. `logits`: (T, V), row by row, with one column for each label: a
  /// model's outputs before or after log_softmax; or, where the mean of the rows' sums is 1,
  /// probabilities. Best first, beam_width at most; never none. Throws UsageError: a size that is
  /// not a multiple of V, a frame without a finite output, an option out of its range.
  std::vector<BeamHypothesis> decode(std::span<const float> logits,
                                     const BeamSearchOptions& options = {}) const;

 private:
  CtcAlphabet alphabet_;
  std::optional<WordLanguageModel> language_model_;
};

}  // namespace w2vbert
