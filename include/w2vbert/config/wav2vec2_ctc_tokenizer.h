// The tokenizer of a CTC model's directory: ids -> text, and text -> ids. Torch-free.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "w2vbert/config/hf_version.h"

namespace w2vbert {

class CtcTextEncoder;

/// HF: transformers/models/wav2vec2/tokenization_wav2vec2.py, Wav2Vec2CTCTokenizer, as
/// from_pretrained makes it from a directory's files.
class Wav2Vec2CTCTokenizer {
 public:
  /// A text and the frames that it comes from: start_offset to before end_offset.
  struct Span {
    std::string text;
    std::int64_t start_offset = 0;
    std::int64_t end_offset = 0;
    bool operator==(const Span&) const = default;
  };
  /// HF: Wav2Vec2CTCTokenizerOutput. HF: the words are as the tokens spell them, whatever
  /// do_lower_case and clean_up_tokenization_spaces make of the text.
  struct Output {
    std::string text;
    std::vector<Span> char_offsets;
    std::vector<Span> word_offsets;
  };

  /// Reads vocab.json and, as far as HF reads them, tokenizer_config.json, special_tokens_map.json,
  /// added_tokens.json, and the tokenizer_class of config.json, as `hf_version` does. Of several
  /// tokens of one id the last one counts. Refused beyond HF: a file over its limit, a token of
  /// more than 4096 bytes, a key that stands twice, a negative id, a pad_token of null, an object
  /// under additional_special_tokens beside one under extra_special_tokens. Throws ConfigError.
  static Wav2Vec2CTCTokenizer from_pretrained(const std::string& directory,
                                              HfVersion hf_version = kNewestHfVersion);

  /// HF: decode(ids, output_char_offsets=True, output_word_offsets=True): one id a frame; equal
  /// neighbours are one, the pad token is the blank, special tokens stay. Throws ConfigError for an
  /// id without a token where unk_token is null, and for a text of more than 64 MiB.
  Output decode(std::span<const std::int64_t> ids) const;

  /// A token of a text, and what of the text it stands for.
  struct EncodedToken {
    std::int64_t id = 0;
    std::size_t begin = 0;    ///< the byte of the text where it begins
    std::size_t end = 0;      ///< the byte behind it
    bool is_unknown = false;  ///< the vocabulary does not have it: `id` is that of unk_token
  };
  /// HF: tokenizer(text).input_ids: a text is cut at the tokens of more than one character, which
  /// take the spaces beside them, and at special and added ones; the rest are single characters,
  /// each space the word_delimiter_token. HF: with do_lower_case the characters are made upper
  /// case, as the tokens are then; one character may be several tokens by that ("\u00df" -> "SS"),
  /// and so may a space where the delimiter has several characters. Throws UsageError for a text
  /// that is not UTF-8, ConfigError for an unknown character where vocab.json has no unk_token.
  std::vector<EncodedToken> encode(std::string_view text) const;

  /// The token of `id`, for an unknown one the unk_token; null where there is neither.
  const std::string* token(std::int64_t id) const;
  /// The number of the blank, the first if there are several; -1 without one.
  std::int64_t pad_token_id() const;

  /// That a model with `vocab_size` outputs can be decoded; tokens beyond them are never said.
  /// Throws ConfigError: the blank is beyond them, or one of them has no token and unk_token is
  /// null.
  void check_vocab_size(std::int64_t vocab_size) const;

  std::string pad_token = "<pad>";
  std::optional<std::string> unk_token = "<unk>";
  std::string word_delimiter_token = "|";
  std::string replace_word_delimiter_char = " ";
  bool do_lower_case = false;
  bool clean_up_tokenization_spaces = false;
  /// Whether encode() cuts the text at none of those tokens.
  bool split_special_tokens = false;
  /// One line for each setting that HF does not follow.
  std::vector<std::string> warnings;

 private:
  std::string vocabulary_path_;
  std::map<std::int64_t, std::string> decoder_;  ///< vocab.json
  /// Tokens beside it: HF gives each special token that has no id the next free one.
  std::map<std::int64_t, std::string> added_tokens_decoder_;
  std::shared_ptr<const CtcTextEncoder> encoder_;
};

}  // namespace w2vbert
