#include "config/ctc_text_encoder.h"

#include <algorithm>
#include <utility>

#include "core/text.h"

namespace w2vbert {

TokenTrie::TokenTrie(const std::set<std::u32string>& tokens) {
  for (const std::u32string& token : tokens) {
    if (!token.empty()) tokens_.push_back(token);
  }
}

std::optional<TokenTrie::Node> TokenTrie::next_of(const Node& node, char32_t character) const {
  const auto at = [&](std::size_t index) {
    return tokens_.begin() + static_cast<std::ptrdiff_t>(index);
  };
  // A token that ends here is the first and has no character there.
  const auto begin = at(node.first + (node.first < node.last && is_end(node) ? 1 : 0));
  const auto first = std::partition_point(begin, at(node.last), [&](const std::u32string& token) {
    return token[node.depth] < character;
  });
  const auto last = std::partition_point(first, at(node.last), [&](const std::u32string& token) {
    return token[node.depth] == character;
  });
  if (first == last) return std::nullopt;
  return Node{static_cast<std::size_t>(first - tokens_.begin()),
              static_cast<std::size_t>(last - tokens_.begin()), node.depth + 1};
}

std::vector<std::size_t> TokenTrie::split(std::u32string_view text) const {
  struct State {  // a token that may have begun
    std::size_t start;
    Node node;
    bool is_over = false;
  };
  const Node root = {0, tokens_.size(), 0};
  std::vector<State> states;
  std::vector<std::size_t> cuts;
  std::size_t skip = 0;
  for (std::size_t current = 0; current < text.size(); ++current) {
    if (current < skip) continue;
    bool has_match = false;
    for (State& state : states) {
      if (is_end(state.node)) {
        std::size_t start = state.start;
        std::size_t end = current;
        for (const State& other : states) {
          if (other.start > start) break;
          std::size_t ahead = other.start < start ? current + 1 : current;
          end = ahead;
          Node node = other.node;
          const auto take_if_end = [&] {
            if (!is_end(node)) return;
            start = other.start;
            end = ahead;
            skip = ahead;
          };
          take_if_end();
          while (ahead < text.size()) {
            const std::optional<Node> next = next_of(node, text[ahead]);
            if (!next) break;
            node = *next;
            ++ahead;
            take_if_end();
          }
        }
        cuts.push_back(start);
        cuts.push_back(end);
        has_match = true;
        break;
      }
      if (const std::optional<Node> next = next_of(state.node, text[current])) {
        state.node = *next;
      } else {
        state.is_over = true;
      }
    }
    if (has_match) {
      states.clear();
    } else {
      std::erase_if(states, [](const State& state) { return state.is_over; });
    }
    if (const std::optional<Node> next = next_of(root, text[current]); next && current >= skip) {
      states.push_back({current, *next});
    }
  }
  const auto last = std::find_if(states.begin(), states.end(),
                                 [&](const State& state) { return is_end(state.node); });
  if (last != states.end()) cuts.push_back(last->start);
  cuts.push_back(text.size());
  // HF: cut_text
  std::vector<std::size_t> ends;
  std::size_t before = 0;
  for (const std::size_t cut : cuts) {
    if (cut <= before) continue;
    ends.push_back(cut);
    before = cut;
  }
  return ends;
}

CtcTextEncoder::CtcTextEncoder(const Ids& vocabulary,
                               const std::vector<std::pair<std::int64_t, AddedToken>>& added,
                               const std::vector<std::string>& special)
    : vocabulary_(vocabulary.begin(), vocabulary.end()) {
  for (const auto& [id, token] : added) set(id, token);
  // HF: PythonBackend.__init__
  for (const auto& [id, token] : added) {
    added_encoder_[utf32_of(added_.at(id).content).value_or(U"")] = id;
  }
  std::size_t known = vocabulary_.size();
  for (const auto& [content, ids] : ids_of_) known += vocabulary_.count(content) == 0;
  // HF: _add_tokens, of the special tokens that are not among these
  const auto named = added_encoder_;
  std::map<std::string, std::int64_t> fresh;
  std::vector<std::pair<std::int64_t, std::string>> places;
  for (const std::string& token : special) {
    const auto content = utf32_of(token);
    if (token.empty() || !content || named.count(*content) > 0) continue;
    std::int64_t id = 0;
    if (const auto place = known_id(token)) {
      id = *place;
    } else {
      id = fresh.try_emplace(token, static_cast<std::int64_t>(known + fresh.size())).first->second;
    }
    places.emplace_back(id, token);
    added_encoder_[*content] = id;
  }
  for (const auto& [id, token] : places) set(id, {.content = token});
  std::set<std::u32string> cut_at;
  for (const auto& [id, token] : added_) cut_at.insert(utf32_of(token.content).value_or(U""));
  // HF: Wav2Vec2CTCTokenizer.__init__
  for (const auto& [token, vocabulary_id] : vocabulary) {
    const auto content = utf32_of(token);
    if (!content || content->size() < 2) continue;
    const std::int64_t id = *known_id(token);
    set(id, {.content = token, .lstrip = true, .rstrip = true});
    added_encoder_[*content] = id;
    cut_at.insert(*content);
  }
  trie_ = TokenTrie(cut_at);
}

void CtcTextEncoder::set(std::int64_t id, AddedToken token) {
  const auto before = added_.find(id);
  if (before != added_.end()) {
    auto& ids = ids_of_[before->second.content];
    ids.erase(id);
    if (ids.empty()) ids_of_.erase(before->second.content);
  }
  ids_of_[token.content].insert(id);
  added_.insert_or_assign(id, std::move(token));
}

// HF: get_vocab: of an added token's ids the largest, before that of vocab.json.
std::optional<std::int64_t> CtcTextEncoder::known_id(const std::string& content) const {
  if (const auto added = ids_of_.find(content); added != ids_of_.end()) {
    return *added->second.rbegin();
  }
  const auto found = vocabulary_.find(content);
  return found == vocabulary_.end() ? std::nullopt : std::optional(found->second);
}

const std::int64_t* CtcTextEncoder::added_id(const std::u32string& content) const {
  const auto found = added_encoder_.find(content);
  return found == added_encoder_.end() ? nullptr : &found->second;
}

// HF: PythonBackend.tokenize: the pieces of a text, of which some are added tokens.
std::vector<CtcTextEncoder::Piece> CtcTextEncoder::pieces_of(const std::u32string& text) const {
  std::vector<Piece> pieces;
  std::size_t begin = 0;
  for (const std::size_t end : trie_.split(text)) {
    Piece& piece = pieces.emplace_back();
    for (; begin < end; ++begin) piece.push_back({text[begin], begin});
  }
  const auto is_blank = [](const Character& c) { return is_space(c.value); };
  for (std::size_t i = 0; i < pieces.size(); ++i) {
    std::u32string content;
    for (const Character& character : pieces[i]) content += character.value;
    const std::int64_t* id = added_id(content);
    const auto found = id ? added_.find(*id) : added_.end();
    if (found == added_.end()) continue;
    const AddedToken& token = found->second;
    Piece none;
    Piece& left = i > 0 ? pieces[i - 1] : none;
    Piece& right = i + 1 < pieces.size() ? pieces[i + 1] : none;
    const bool in_word_left = !left.empty() && left.back().value != U' ';
    const bool in_word_right = !right.empty() && right.front().value != U' ';
    if (token.rstrip)
      right.erase(right.begin(), std::find_if_not(right.begin(), right.end(), is_blank));
    if (token.lstrip) {
      left.erase(std::find_if_not(left.rbegin(), left.rend(), is_blank).base(), left.end());
    }
    if (!token.single_word) continue;
    Piece own;
    if (in_word_left) {
      own.swap(pieces[i]);
      left.insert(left.end(), own.begin(), own.end());
    } else if (in_word_right) {
      own.swap(pieces[i]);
      right.insert(right.begin(), own.begin(), own.end());
    }
  }
  return pieces;
}

std::vector<CtcTextEncoder::Token> CtcTextEncoder::encode(const std::u32string& text,
                                                          const Settings& settings) const {
  std::vector<Token> tokens;
  const auto id_of_unknown = [&]() -> std::optional<std::int64_t> {
    const auto found =
        settings.unk_token ? vocabulary_.find(*settings.unk_token) : vocabulary_.end();
    return found == vocabulary_.end() ? std::nullopt : std::optional(found->second);
  }();
  const auto add = [&](const std::u32string& token, std::size_t begin, std::size_t end) {
    if (const std::int64_t* id = added_id(token)) {
      tokens.push_back({*id, false, begin, end});
    } else if (const auto found = vocabulary_.find(utf8_of(token)); found != vocabulary_.end()) {
      tokens.push_back({found->second, false, begin, end});
    } else {
      tokens.push_back({id_of_unknown, true, begin, end});
    }
  };
  const std::u32string delimiter = utf32_of(settings.word_delimiter_token).value_or(U"");
  // HF: Wav2Vec2CTCTokenizer._tokenize
  const auto add_characters = [&](const Piece& piece) {
    for (const auto& [value, place] : piece) {
      const std::u32string shown = value == U' '            ? delimiter
                                   : settings.do_lower_case ? upper_case(value)
                                                            : std::u32string(1, value);
      for (const char32_t character : shown) add(std::u32string(1, character), place, place + 1);
    }
  };
  if (settings.split_special_tokens) {
    Piece whole;
    for (std::size_t i = 0; i < text.size(); ++i) whole.push_back({text[i], i});
    add_characters(whole);
    return tokens;
  }
  for (const Piece& piece : pieces_of(text)) {
    if (piece.empty()) continue;
    std::u32string content;
    for (const Character& character : piece) content += character.value;
    if (added_id(content)) {
      add(content, piece.front().place, piece.back().place + 1);
    } else {
      add_characters(piece);
    }
  }
  return tokens;
}

}  // namespace w2vbert
