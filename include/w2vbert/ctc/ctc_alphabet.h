// What the outputs of a CTC model stand for in a beam search. Torch-free.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace w2vbert {

/// pyctcdecode: Alphabet.
struct CtcAlphabet {
  /// Begins a word in tokens of BPE: U+2581.
  static constexpr std::string_view kWordMark = "\u2581";

  /// For each output of the model the text that it adds; "" is the blank, " " stands between words.
  /// With is_bpe a word begins where a label begins with kWordMark.
  std::vector<std::string> labels;
  bool is_bpe = false;

  /// pyctcdecode: Alphabet.build_alphabet: of a tokenizer's tokens in the order of their ids:
  /// "|" becomes " ", "<pad>" or "[PAD]", or else "_", the blank, "<unk>" or "[UNK]" U+2047, tokens
  /// in the style of "##" those of U+2581; a blank that is missing is added at the end. Throws
  /// ConfigError: a token that stands twice, a space in a token of BPE.
  static CtcAlphabet build(std::vector<std::string> tokens);

  /// Reads an alphabet.json, as pyctcdecode's save_to_dir writes it: an object of labels (a list of
  /// strings) and is_bpe (true or false) alone. Throws ConfigError with path and key.
  static CtcAlphabet load(const std::string& path);
  /// The same of the file's text; `path` is for messages.
  static CtcAlphabet parse(std::string_view text, const std::string& path);
};

}  // namespace w2vbert
