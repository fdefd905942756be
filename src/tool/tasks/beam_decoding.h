// How `transcribe` comes to a beam search: what the model's directory holds for it, and what was
// asked for. Torch-free.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "w2vbert/config/wav2vec2_ctc_tokenizer.h"
#include "w2vbert/ctc/beam_search.h"

namespace w2vbert::tool {

struct BeamDecoding {
  // A language model: a file, or a directory as pyctcdecode or Wav2Vec2ProcessorWithLM saves it;
  // "": that of the model's directory, if it has one.
  std::string lm;
  std::optional<double> alpha;  // else the language model's own
  std::optional<double> beta;
  std::string hotwords;  // a file with one a line, or ""
  BeamSearchOptions search;
  std::size_t n_best = 1;  // hypotheses that are told
};

// The decoder for a model with `vocab_size` outputs. Its alphabet is that of `lm`, else that of the
// model's directory (alphabet.json), else made of the tokenizer's tokens. Throws ConfigError,
// and UsageError for a weight without a language model.
BeamSearchDecoder make_decoder(const BeamDecoding& decoding, const std::string& model_directory,
                               const Wav2Vec2CTCTokenizer& tokenizer, std::int64_t vocab_size);

// The files that make_decoder() reads; an alphabet.json may be absent.
std::vector<std::string> decoder_files(const BeamDecoding& decoding,
                                       const std::string& model_directory);

// decoding.search with the hotwords of the file. Throws UsageError.
BeamSearchOptions search_options(const BeamDecoding& decoding);

}  // namespace w2vbert::tool
