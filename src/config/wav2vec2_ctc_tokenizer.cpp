#include "w2vbert/config/wav2vec2_ctc_tokenizer.h"

#include <algorithm>
#include <functional>
#include <iterator>
#include <memory>
#include <optional>
#include <set>
#include <string_view>
#include <utility>

#include "config/config_table.h"
#include "config/ctc_text_encoder.h"
#include "core/parse_number.h"
#include "core/text.h"
#include "w2vbert/core/error.h"

namespace w2vbert {
namespace {

using Tokenizer = Wav2Vec2CTCTokenizer;
using Token = std::optional<std::string>;  // nothing for null

// The vocabularies of a thousand languages in one file take 1 MB.
constexpr std::uint64_t kMaxVocabularyBytes = 16 << 20;
// A frame may say any token, and a batch has thousands of frames.
constexpr std::size_t kMaxTokenBytes = 1 << 12;
// A clip's text: hours of speech are a few million bytes.
constexpr std::size_t kMaxTextBytes = 64 << 20;
constexpr std::string_view kClasses[] = {"Wav2Vec2CTCTokenizer", "Wav2Vec2CTCTokenizerFast"};
// HF: PreTrainedTokenizerBase.SPECIAL_TOKENS_ATTRIBUTES, and what Wav2Vec2CTCTokenizer sets.
struct NamedToken {
  const char* key;
  const char* token;  // or null
};
constexpr NamedToken kNamedTokens[] = {
    {"bos_token", "<s>"},   {"eos_token", "</s>"},  {"unk_token", "<unk>"},  {"sep_token", nullptr},
    {"pad_token", "<pad>"}, {"cls_token", nullptr}, {"mask_token", nullptr},
};
constexpr const char* kDelimiter = "word_delimiter_token";
constexpr const char* kExtra = "extra_special_tokens";
constexpr const char* kAdditional = "additional_special_tokens";  // its older name
constexpr const char* kModelSpecific = "model_specific_special_tokens";
constexpr const char* kAddedTokens = "added_tokens_decoder";
constexpr const char* kToken = "a string or null";

bool is_named(std::string_view key) {
  return std::any_of(std::begin(kNamedTokens), std::end(kNamedTokens),
                     [&](const NamedToken& named) { return key == named.key; });
}

// A Python dict of tokens: a key that is set again keeps its place.
class TokenDict {
 public:
  void set(const std::string& key, Token token) {
    const auto [place, is_new] = index_.try_emplace(key, items_.size());
    if (is_new) {
      items_.emplace_back(key, std::move(token));
    } else {
      items_[place->second].second = std::move(token);
    }
  }
  const Token* find(const std::string& key) const {
    const auto found = index_.find(key);
    return found == index_.end() ? nullptr : &items_[found->second].second;
  }
  Token get(const std::string& key, const Token& otherwise) const {
    const Token* token = find(key);
    return token ? *token : otherwise;
  }
  const std::vector<std::pair<std::string, Token>>& items() const { return items_; }

 private:
  std::vector<std::pair<std::string, Token>> items_;
  std::map<std::string, std::size_t> index_;
};

// The content of an AddedToken that was saved as an object.
std::string content_of(const ConfigReader& reader, const std::string& key, const JsonValue& token) {
  const auto* text = token.find_as<std::string>("content");
  if (!text) reader.fail(key, token.describe(), "a string, or an object with a string as content");
  return *text;
}

Token token_of(const ConfigReader& reader, const std::string& key, const JsonValue& value) {
  if (value.is_null()) return std::nullopt;
  if (const auto* text = value.get_if<std::string>()) return *text;
  if (!value.get_if<JsonValue::Object>()) reader.fail(key, value.describe(), kToken);
  return content_of(reader, key, value);
}

// Reads a tokenizer's files in the order of HF's _from_pretrained (tokenization_utils_base.py) and
// Wav2Vec2CTCTokenizer.__init__.
class TokenizerReader {
 public:
  TokenizerReader(std::string directory, JsonValue config, std::string config_path,
                  HfVersion hf_version)
      : hf_version_(hf_version),
        directory_(std::move(directory)),
        root_(std::move(config)),
        config_path_(std::move(config_path)),
        config_(config_path_) {}

  void read(Tokenizer& tokenizer, std::map<std::int64_t, std::string>& decoder,
            std::map<std::int64_t, std::string>& added,
            std::shared_ptr<const CtcTextEncoder>& encoder, const std::string& vocabulary_path) {
    check_class();
    read_settings(tokenizer);
    read_special_tokens();
    const JsonValue* added_tokens = root_.find(kAddedTokens);
    if (added_tokens) {
      read_added_tokens(*added_tokens);
    } else {
      read_older_files();
    }
    for (const auto& [id, token] : added_) added.insert_or_assign(id, token.content);
    take_additional();
    read_vocabulary(vocabulary_path, decoder, tokenizer);
    choose_delimiter(tokenizer);
    const std::vector<std::string> special = all_special_tokens(tokenizer);
    encoder = std::make_shared<const CtcTextEncoder>(vocabulary_, added_, special);
    add_missing(special, added);
    for (const auto* tokens : {&decoder, &added}) {
      for (const auto& [id, token] : *tokens) check_length(vocabulary_path, token);
    }
    check_length(config_path_, tokenizer.replace_word_delimiter_char);
    if (tokenizer.unk_token) check_length(config_path_, *tokenizer.unk_token);
  }

 private:
  static void check_length(const std::string& path, const std::string& token) {
    if (token.size() <= kMaxTokenBytes) return;
    throw ConfigError(path, quote_bytes(token),
                      "a token of " + std::to_string(token.size()) + " bytes",
                      "at most " + std::to_string(kMaxTokenBytes));
  }

  void check_class() const {
    if (config_.read_word(root_, {"tokenizer_class"}, kClasses)) return;
    // HF asks the model's config then.
    const std::string path = join_path(directory_, "config.json");
    if (!exists<ConfigError>(path)) return;
    ConfigReader(path).read_word(parse_config(read_config_text(path), path), {"tokenizer_class"},
                                 kClasses);
  }

  void read_settings(Tokenizer& tokenizer) const {
    tokenizer.do_lower_case = config_.flag_or_null(root_, "do_lower_case", false);
    tokenizer.clean_up_tokenization_spaces =
        config_.flag_or_null(root_, "clean_up_tokenization_spaces", false);
    tokenizer.split_special_tokens = config_.flag_or_null(root_, "split_special_tokens", false);
    if (const JsonValue* value = root_.find("replace_word_delimiter_char")) {
      const auto* text = value->get_if<std::string>();
      if (!text) config_.fail("replace_word_delimiter_char", value->describe(), "a string");
      tokenizer.replace_word_delimiter_char = *text;
    }
  }

  // HF takes the keys of tokenizer_config.json that end in _token and are no names of its own out
  // of the arguments if they are strings. So the delimiter becomes one of the special tokens and
  // does not delimit; it does as an object (AddedToken), or in a special_tokens_map.json.
  void read_special_tokens() {
    TokenDict taken;
    for (const auto& [key, value] : *root_.get_if<JsonValue::Object>()) {
      if (!key.ends_with("_token")) continue;
      const auto* text = value.get_if<std::string>();
      if (is_named(key) || key == kDelimiter || value.get_if<JsonValue::Object>()) {
        check_type(key, value);
        const Token token = token_of(config_, key, value);
        (text && !is_named(key) ? taken : arguments_).set(key, token);
      } else if (text) {
        taken.set(key, *text);
      }
    }
    const JsonValue* extra = root_.find(kExtra);
    const JsonValue* additional = root_.find(kAdditional);
    // HF: up to 5.17 the newer name decides wherever it stands, since then where it says something;
    // what stands under the older one beside it was forgotten, and is now left for __init__.
    const bool is_kept = hf_version_ >= HfVersion::v5_18;
    if (additional && (!extra || (is_kept && !is_true(*extra)))) {
      extra = additional;
    } else if (additional && is_kept) {
      additional_ = [this, additional] { add_extra(config_, kAdditional, *additional); };
    }
    if (extra && extra->get_if<JsonValue::Object>()) {
      for (const auto& [key, value] : *extra->get_if<JsonValue::Object>()) {
        check_type(key, value);
        taken.set(key, model_specific(config_, key, value));
      }
    } else if (extra) {
      add_extra(config_, kExtra, *extra);
    }
    if (!taken.items().empty()) {
      model_specific_ = std::move(taken);
    } else if (const JsonValue* saved = root_.find(kModelSpecific); saved && !saved->is_null()) {
      const auto* tokens = saved->get_if<JsonValue::Object>();
      if (!tokens) config_.fail(kModelSpecific, saved->describe(), "an object");
      for (const auto& [key, value] : *tokens) {
        check_type(key, value);
        model_specific_.set(key, model_specific(config_, key, value));
      }
    }
  }

  // HF: an object becomes an AddedToken in tokenizer_config.json if it says that it is one.
  void check_type(const std::string& key, const JsonValue& value) const {
    if (!value.get_if<JsonValue::Object>()) return;
    const auto* name = value.find_as<std::string>("__type");
    if (name && *name == "AddedToken") return;
    config_.fail(key, "an object without \"__type\": \"AddedToken\"", kToken);
  }

  static std::string model_specific(const ConfigReader& reader, const std::string& key,
                                    const JsonValue& value) {
    const Token token = token_of(reader, key, value);
    if (!token) reader.fail(key, value.describe(), "a string");
    return *token;
  }

  // HF: an object in such a list is, by its text, a token of its own. Here it is what it means.
  // Null is a list without tokens, which replaces what another file says.
  void add_extra(const ConfigReader& reader, const char* key, const JsonValue& value) {
    if (!extra_ || value.is_null()) extra_.emplace();
    if (value.is_null()) return;
    const auto* list = value.get_if<JsonValue::Array>();
    if (!list) reader.fail(key, value.describe(), "a list of tokens");
    for (const JsonValue& element : *list) {
      extra_->push_back(model_specific(reader, key, element));
    }
  }

  // HF: PreTrainedTokenizerBase.__init__. What is still there under the older name takes no part
  // beside a list of the newer name.
  void take_additional() {
    if (additional_ && !extra_) additional_();
  }

  // Python's bool(value).
  static bool is_true(const JsonValue& value) {
    if (value.is_null()) return false;
    if (const auto* flag = value.get_if<bool>()) return *flag;
    if (const auto* number = value.get_if<std::uint64_t>()) return *number != 0;
    if (const auto* number = value.get_if<double>()) return *number != 0;
    if (const auto* text = value.get_if<std::string>()) return !text->empty();
    if (const auto* list = value.get_if<JsonValue::Array>()) return !list->empty();
    if (const auto* object = value.get_if<JsonValue::Object>()) return !object->empty();
    const auto* negative = value.get_if<JsonNegative>();
    return !negative || negative->value != 0;
  }

  void read_added_tokens(const JsonValue& value) {
    constexpr const char* kExpected = "an object of ids and tokens";
    const auto* tokens = value.get_if<JsonValue::Object>();
    if (!tokens) config_.fail(kAddedTokens, value.describe(), kExpected);
    for (const auto& [id, token] : *tokens) {
      const auto number = parse_number<std::int64_t>(id);
      if (!number || *number < 0 || std::to_string(*number) != id) {
        config_.fail(kAddedTokens, "has the key " + describe(JsonScalar(std::string_view(id))),
                     kExpected);
      }
      const std::string content = content_of(config_, kAddedTokens, token);
      added_.emplace_back(*number, AddedToken{content, config_.flag_or_null(token, "lstrip", false),
                                              config_.flag_or_null(token, "rstrip", false),
                                              config_.flag_or_null(token, "single_word", false)});
    }
  }

  // Files of the time before added_tokens_decoder.
  void read_older_files() {
    const std::string map_path = join_path(directory_, "special_tokens_map.json");
    if (exists<ConfigError>(map_path)) read_special_tokens_map(map_path);
    const std::string added_path = join_path(directory_, "added_tokens.json");
    if (exists<ConfigError>(added_path)) {
      const JsonValue root = parse_config(read_config_text(added_path), added_path);
      read_ids(ConfigReader(added_path), root, [&](const std::string& token, std::int64_t id) {
        added_.emplace_back(id, AddedToken{.content = token});
      });
    }
    const std::string fast = join_path(directory_, "tokenizer.json");
    if (exists<ConfigError>(fast)) {
      throw ConfigError(fast, "", "is not supported",
                        "no such file, or an added_tokens_decoder in tokenizer_config.json");
    }
  }

  void read_special_tokens_map(const std::string& path) {
    special_tokens_map_ = parse_config(read_config_text(path), path);
    const ConfigReader reader(path);
    for (const auto& [key, value] : *special_tokens_map_.get_if<JsonValue::Object>()) {
      if (key == kExtra && value.get_if<JsonValue::Object>()) {
        extra_.reset();  // HF: the object takes the place of a list
        for (const auto& [name, token] : *value.get_if<JsonValue::Object>()) {
          model_specific_.set(name, model_specific(reader, name, token));
        }
      } else if (key == kExtra) {
        add_extra(reader, kExtra, value);
      } else if (key == kAdditional) {
        additional_ = [this, reader, &list = value] { add_extra(reader, kAdditional, list); };
      } else if (key.ends_with("_token")) {
        arguments_.set(key, token_of(reader, key, value));
      }
    }
  }

  // An object of tokens and their ids, one by one. HF: of several tokens of one id, the last is the
  // id's.
  static void read_ids(const ConfigReader& reader, const JsonValue& root,
                       const std::function<void(const std::string&, std::int64_t)>& add) {
    for (const auto& [token, value] : *root.get_if<JsonValue::Object>()) {
      const std::string key = quote_bytes(token);
      const std::int64_t id = reader.integer(value, key.c_str(), "an id");
      if (id < 0) reader.fail(key, value.describe(), "0 or more");
      add(token, id);
    }
  }

  void read_vocabulary(const std::string& path, std::map<std::int64_t, std::string>& decoder,
                       Tokenizer& tokenizer) {
    if (!exists<ConfigError>(path)) {
      throw ConfigError(path, "", "is missing", "the tokens of a CTC model and their ids");
    }
    const JsonValue root = parse_config(read_small_file<ConfigError>(path, kMaxVocabularyBytes),
                                        path, kMaxVocabularyBytes);
    const JsonValue* vocabulary = &root;
    const ConfigReader reader(path);
    if (const JsonValue* language = root_.find("target_lang"); language && !language->is_null()) {
      const auto* name = language->get_if<std::string>();
      if (!name) config_.fail("target_lang", language->describe(), kToken);
      vocabulary = root.find(*name);
      if (!vocabulary) reader.fail(*name, "is missing", "the target_lang of tokenizer_config.json");
      if (!vocabulary->get_if<JsonValue::Object>()) {
        reader.fail(*name, vocabulary->describe(), "an object of tokens and ids");
      }
    }
    const auto& tokens = *vocabulary->get_if<JsonValue::Object>();
    if (tokens.empty()) throw ConfigError(path, "", "is empty", "tokens and their ids");
    if (tokens.front().second.get_if<JsonValue::Object>()) {
      reader.fail(tokens.front().first, "an object",
                  "an id; for vocabularies by language a target_lang in tokenizer_config.json");
    }
    std::size_t hidden = 0;
    read_ids(reader, *vocabulary, [&](const std::string& token, std::int64_t id) {
      encoder_.insert(token);
      vocabulary_.emplace_back(token, id);
      const auto [place, is_new] = decoder.try_emplace(id);
      if (!is_new && ++hidden == 1) {
        tokenizer.warnings.push_back(quote_bytes(path) + ": " + std::to_string(id) +
                                     " is the id of " + in_quotes(place->second) + " and of " +
                                     in_quotes(token) +
                                     ": the last token of an id counts, as in transformers");
      }
      place->second = token;
    });
  }

  void choose_delimiter(Tokenizer& tokenizer) const {
    const Token delimiter = arguments_.get(kDelimiter, "|");
    tokenizer.word_delimiter_token = delimiter.value_or("None");  // HF: str(None)
    const auto* text = root_.find_as<std::string>(kDelimiter);
    if (!text || *text == tokenizer.word_delimiter_token) return;
    tokenizer.warnings.push_back(join_path(quote_bytes(directory_), "tokenizer_config.json") +
                                 ": word_delimiter_token \"" + quote_bytes(*text) +
                                 "\" does not delimit words, as in transformers 5: \"" +
                                 quote_bytes(tokenizer.word_delimiter_token) + "\" does");
  }

  // In the order in which they get ids.
  std::vector<std::string> all_special_tokens(Tokenizer& tokenizer) const {
    TokenDict named;
    for (const auto& [key, token] : kNamedTokens) {
      named.set(key, arguments_.get(key, token ? Token(token) : std::nullopt));
    }
    TokenDict others;
    if (const Token delimiter = arguments_.get(kDelimiter, "|")) others.set(kDelimiter, delimiter);
    for (const auto& [key, token] : arguments_.items()) {
      if (!is_named(key) && token) others.set(key, token);
    }
    for (const auto& [key, token] : model_specific_.items()) others.set(key, token);
    for (const auto& [key, token] : others.items()) named.set(key, token);

    const Token pad = named.get("pad_token", std::nullopt);
    if (!pad) config_.fail("pad_token", "null", "the token that is the blank");
    tokenizer.pad_token = *pad;
    tokenizer.unk_token = named.get("unk_token", std::nullopt);

    std::vector<std::string> tokens;
    std::set<std::string_view> seen;
    for (const auto& [key, token] : named.items()) {
      if (token && seen.insert(*token).second) tokens.push_back(*token);
    }
    if (!extra_) return tokens;
    for (const std::string& token : *extra_) {
      if (seen.insert(token).second) tokens.push_back(token);
    }
    return tokens;
  }

  // HF: _add_tokens. A new token's id is the number of tokens there are, taken or not.
  void add_missing(const std::vector<std::string>& special,
                   std::map<std::int64_t, std::string>& added) const {
    std::set<std::string, std::less<>> known = encoder_;
    for (const auto& [id, token] : added) known.insert(token);
    auto next = static_cast<std::int64_t>(known.size());
    for (const std::string& token : special) {
      if (token.empty() || !known.insert(token).second) continue;
      added[next++] = token;
    }
  }

  HfVersion hf_version_;
  std::string directory_;
  JsonValue root_;                // tokenizer_config.json
  JsonValue special_tokens_map_;  // special_tokens_map.json
  std::string config_path_;
  ConfigReader config_;  // of it
  std::set<std::string, std::less<>>
      encoder_;                     // the tokens of vocab.json, also those without an id
  CtcTextEncoder::Ids vocabulary_;  // vocab.json
  std::vector<std::pair<std::int64_t, AddedToken>> added_;  // as the files name them
  TokenDict arguments_;  // keys that end in _token, as __init__ gets them
  TokenDict model_specific_;
  std::optional<std::vector<std::string>> extra_;  // HF: the argument extra_special_tokens, a list
  std::function<void()>
      additional_;  // reads the argument additional_special_tokens, if there is one
};

// Python's str.replace(): into a new text, for what moves in place with every hit takes the square
// of the time.
std::string replace_all(std::string_view text, std::string_view from, std::string_view to) {
  std::string replaced;
  std::size_t copied = 0;
  for (std::size_t at = text.find(from); at != std::string_view::npos;
       at = text.find(from, copied)) {
    replaced.append(text, copied, at - copied).append(to);
    copied = at + from.size();
  }
  return replaced.append(text, copied);
}

// HF: clean_up_tokenization
void clean_up(std::string& text) {
  for (const std::string_view from :
       {" .", " ?", " !", " ,", " ' ", " n't", " 'm", " 's", " 've", " 're"}) {
    text = replace_all(text, from, from == " ' " ? "'" : from.substr(1));
  }
}

// HF: _get_word_offsets
std::vector<Tokenizer::Span> words_of(const std::vector<Tokenizer::Span>& characters,
                                      const std::string& delimiter) {
  std::vector<Tokenizer::Span> words;
  bool in_word = false;
  for (const Tokenizer::Span& character : characters) {
    const bool was_in_word = std::exchange(in_word, character.text != delimiter);
    if (!in_word) continue;
    if (was_in_word) {
      words.back().text += character.text;
      words.back().end_offset = character.end_offset;
    } else {
      words.push_back(character);
    }
  }
  return words;
}

}  // namespace

Tokenizer Tokenizer::from_pretrained(const std::string& directory, HfVersion hf_version) {
  Tokenizer tokenizer;
  tokenizer.vocabulary_path_ = join_path(directory, "vocab.json");
  const std::string path = join_path(directory, "tokenizer_config.json");
  JsonValue config = parse_config(exists<ConfigError>(path) ? read_config_text(path) : "{}", path);
  TokenizerReader reader(directory, std::move(config), path, hf_version);
  reader.read(tokenizer, tokenizer.decoder_, tokenizer.added_tokens_decoder_, tokenizer.encoder_,
              tokenizer.vocabulary_path_);
  return tokenizer;
}

const std::string* Tokenizer::token(std::int64_t id) const {
  for (const auto* tokens : {&decoder_, &added_tokens_decoder_}) {
    if (const auto found = tokens->find(id); found != tokens->end()) return &found->second;
  }
  return unk_token ? &*unk_token : nullptr;
}

std::int64_t Tokenizer::pad_token_id() const {
  std::int64_t smallest = -1;  // stays for the empty text, which gets no id
  for (const auto* tokens : {&decoder_, &added_tokens_decoder_}) {
    for (const auto& [id, content] : *tokens) {
      if (content == pad_token && *token(id) == pad_token && (smallest < 0 || id < smallest)) {
        smallest = id;
      }
    }
  }
  return smallest;
}

void Tokenizer::check_vocab_size(std::int64_t vocab_size) const {
  const std::int64_t blank = pad_token_id();
  if (blank < 0 || blank >= vocab_size) {
    throw ConfigError(vocabulary_path_, "",
                      "has no pad_token " + in_quotes(pad_token) + ", which is the blank",
                      "its id, below the model's vocab_size = " + std::to_string(vocab_size));
  }
  if (unk_token) return;
  for (std::int64_t id = 0; id < vocab_size; ++id) {
    if (token(id)) continue;
    throw ConfigError(vocabulary_path_, "", "has no token " + std::to_string(id),
                      "one, for unk_token is null");
  }
}

Tokenizer::Output Tokenizer::decode(std::span<const std::int64_t> ids) const {
  Output output;
  const std::string* last = nullptr;
  std::int64_t last_id = 0;
  std::size_t text_bytes = 0;
  for (std::size_t frame = 0; frame < ids.size(); ++frame) {
    const std::int64_t id = ids[frame];
    const std::string* here = last && id == last_id ? last : token(id);
    if (!here) {
      throw ConfigError(vocabulary_path_, "", "has no token " + std::to_string(id),
                        "one, for unk_token is null");
    }
    const auto offset = static_cast<std::int64_t>(frame);
    const bool repeats = last && (here == last || *here == *last);
    last = here;
    last_id = id;
    if (*here == pad_token) continue;
    if (repeats) {
      output.char_offsets.back().end_offset = offset + 1;
      continue;
    }
    output.char_offsets.push_back(
        {*here == word_delimiter_token ? replace_word_delimiter_char : *here, offset, offset + 1});
    text_bytes += output.char_offsets.back().text.size();
    if (text_bytes > kMaxTextBytes) {
      throw ConfigError(vocabulary_path_, "",
                        "makes a text of more than " + std::to_string(kMaxTextBytes) +
                            " bytes of " + std::to_string(frame + 1) + " frames",
                        "shorter tokens");
    }
  }
  output.text.reserve(text_bytes);
  for (const Span& character : output.char_offsets) output.text += character.text;
  output.text = std::string(strip(output.text));
  if (do_lower_case) output.text = lower_case(output.text);
  if (clean_up_tokenization_spaces) clean_up(output.text);
  output.word_offsets = words_of(output.char_offsets, replace_word_delimiter_char);
  return output;
}

std::vector<Tokenizer::EncodedToken> Tokenizer::encode(std::string_view text) const {
  const std::optional<std::u32string> characters = utf32_of(text);
  if (!characters) throw UsageError("", "text", in_quotes(text) + " is not UTF-8", "UTF-8");
  std::vector<std::size_t> places;  // of each character, and of the end
  places.reserve(characters->size() + 1);
  std::size_t place = 0;
  for (std::size_t i = 0; i < characters->size(); ++i) {
    places.push_back(place);
    place += utf8_character_length(text.substr(place));
  }
  places.push_back(place);
  std::vector<EncodedToken> tokens;
  if (!encoder_) return tokens;
  for (const auto& token : encoder_->encode(
           *characters, {unk_token, word_delimiter_token, do_lower_case, split_special_tokens})) {
    const std::size_t begin = places[token.begin], end = places[token.end];
    if (!token.id) {
      throw ConfigError(vocabulary_path_, "",
                        "has no token for " + in_quotes(text.substr(begin, end - begin)),
                        "one, or the unk_token, which is " +
                            (unk_token ? in_quotes(*unk_token) : std::string("null")));
    }
    tokens.push_back({*token.id, begin, end, token.is_unknown});
  }
  return tokens;
}

}  // namespace w2vbert
