// A text -> the ids of a CTC tokenizer. Torch-free.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace w2vbert {

// HF: tokenizers.AddedToken, as far as it changes ids.
struct AddedToken {
  std::string content;
  bool lstrip = false;
  bool rstrip = false;
  bool single_word = false;
};

// HF: Trie (tokenization_python.py). It cuts a text at the tokens that it holds.
class TokenTrie {
 public:
  TokenTrie() = default;
  explicit TokenTrie(const std::set<std::u32string>& tokens);
  // HF: Trie.split, with its oddities: the first token that ends counts, made longer as far as it
  // goes, and of those that began earlier the first, also one that had stopped matching.
  // The ends of the pieces.
  std::vector<std::size_t> split(std::u32string_view text) const;

 private:
  // The tokens that begin with the same characters.
  struct Node {
    std::size_t first;
    std::size_t last;  // behind them
    std::size_t depth;
  };
  bool is_end(const Node& node) const { return tokens_[node.first].size() == node.depth; }
  std::optional<Node> next_of(const Node& node, char32_t character) const;

  std::vector<std::u32string> tokens_;  // ascending
};

// HF: Wav2Vec2CTCTokenizer.__init__ and PythonBackend.tokenize: which tokens a text is cut at, and
// the ids of what is between them.
class CtcTextEncoder {
 public:
  using Ids = std::vector<std::pair<std::string, std::int64_t>>;
  // `vocabulary`: of vocab.json, in its order. `added`: id and token, as files name them, in their
  // order. `special`: in the order in which they get ids.
  CtcTextEncoder(const Ids& vocabulary,
                 const std::vector<std::pair<std::int64_t, AddedToken>>& added,
                 const std::vector<std::string>& special);

  struct Settings {
    const std::optional<std::string>& unk_token;
    const std::string& word_delimiter_token;
    bool do_lower_case = false;
    bool split_special_tokens = false;
  };
  struct Token {
    std::optional<std::int64_t> id;  // nothing: neither this token nor the unk_token has one
    bool is_unknown = false;
    std::size_t begin = 0;  // characters of the text: begin to before end
    std::size_t end = 0;
  };
  std::vector<Token> encode(const std::u32string& text, const Settings& settings) const;

 private:
  struct Character {
    char32_t value;
    std::size_t place;  // in the text
  };
  using Piece = std::vector<Character>;

  void set(std::int64_t id, AddedToken token);
  std::optional<std::int64_t> known_id(const std::string& content) const;
  const std::int64_t* added_id(const std::u32string& content) const;
  std::vector<Piece> pieces_of(const std::u32string& text) const;

  std::map<std::string, std::int64_t> vocabulary_;
  std::map<std::int64_t, AddedToken> added_;
  std::map<std::string, std::set<std::int64_t>> ids_of_;  // of the contents of added_
  std::map<std::u32string, std::int64_t> added_encoder_;  // HF: _added_tokens_encoder
  TokenTrie trie_;
};

}  // namespace w2vbert
