#include "ctc/hypothesis_store.h"

#include <algorithm>
#include <cmath>
#include <numbers>

#include "core/text.h"
#include "w2vbert/core/error.h"

namespace w2vbert {
namespace {

// pyctcdecode: AVG_TOKEN_LEN and LOG_BASE_CHANGE_FACTOR.
constexpr double kAverageCharacters = 6;
const double kLog10ToLog = 1.0 / std::log10(std::numbers::e);
// Some hundred kilobytes.
constexpr std::size_t kMinLimit = 1 << 12;

// FNV-1a, which goes on from the hash of what stands before.
std::uint64_t extend_hash(std::uint64_t hash, std::string_view bytes) {
  for (const char byte : bytes) hash = (hash ^ static_cast<unsigned char>(byte)) * 0x100000001b3;
  return hash;
}
constexpr std::uint64_t kEmptyHash = 0xcbf29ce484222325;

std::int64_t characters_of(std::string_view text) {
  return std::count_if(text.begin(), text.end(),
                       [](char byte) { return (static_cast<unsigned char>(byte) & 0xC0) != 0x80; });
}

// Narrows `words` from `begin` to before `end`, which share their first `skip` bytes, to those that
// go on with `more`.
void narrow(const std::vector<std::string>& words, std::size_t& begin, std::size_t& end,
            std::size_t skip, std::string_view more) {
  const auto part = [&](const std::string& word) {
    return std::string_view(word).substr(std::min(skip, word.size())).substr(0, more.size());
  };
  const auto first = words.begin() + static_cast<std::ptrdiff_t>(begin);
  const auto last = words.begin() + static_cast<std::ptrdiff_t>(end);
  const auto low = std::lower_bound(
      first, last, more,
      [&](const std::string& word, std::string_view text) { return part(word) < text; });
  const auto high = std::upper_bound(
      low, last, more,
      [&](std::string_view text, const std::string& word) { return text < part(word); });
  begin = static_cast<std::size_t>(low - words.begin());
  end = static_cast<std::size_t>(high - words.begin());
}

}  // namespace

HotwordScorer::HotwordScorer(const std::vector<std::string>& hotwords, double weight)
    : weight_(weight) {
  for (const std::string& hotword : hotwords) {
    if (!is_utf8(hotword)) {
      throw UsageError("hotwords", in_quotes(hotword), "is not UTF-8", "", "hotwords");
    }
    for (const std::string_view word : split_at_blanks(hotword)) words_.emplace_back(word);
  }
  std::sort(words_.begin(), words_.end());
  words_.erase(std::unique(words_.begin(), words_.end()), words_.end());
}

bool HotwordScorer::contains(std::string_view word) const {
  return std::binary_search(words_.begin(), words_.end(), word);
}

double HotwordScorer::partial_score(std::size_t begin, std::size_t end,
                                    std::int64_t characters) const {
  std::int64_t shortest = characters_of(words_[begin]);
  for (std::size_t i = begin + 1; i < end; ++i) {
    shortest = std::min(shortest, characters_of(words_[i]));
  }
  return weight_ * static_cast<double>(characters) / static_cast<double>(shortest);
}

HypothesisStore::HypothesisStore(const std::vector<std::string>& labels,
                                 const WordLanguageModel* language_model,
                                 const HotwordScorer& hotwords, int history_words)
    : labels_(labels),
      language_model_(language_model),
      hotwords_(hotwords),
      history_words_(history_words),
      word_limit_(kMinLimit),
      text_limit_(kMinLimit) {
  for (const std::string& label : labels_) label_characters_.push_back(characters_of(label));
  Word& word = words_.emplace_back();
  word.hash = kEmptyHash;
  word.unigrams_end = language_model_ ? language_model_->unigrams().size() : 0;
  word.hotwords_end = hotwords_.words().size();
  words_by_hash_.emplace(word.hash, 0);
  Text& text = texts_.emplace_back();
  text.hash = kEmptyHash;
  if (language_model_ && language_model_->settings.score_boundary) {
    text.state = language_model_->model().begin_sentence();
  }
  texts_by_hash_.emplace(text.hash, 0);
  histories_.emplace("", 0);
}

std::uint64_t HypothesisStore::pair_of(int first, int second) {
  return static_cast<std::uint64_t>(first) << 32 | static_cast<std::uint32_t>(second);
}

// The number for which is_equal(number), from `key` on; without one -1, and `key` is free.
template <typename IsEqual>
int HypothesisStore::find_hash(const PairMap& map, std::uint64_t& key, const IsEqual& is_equal) {
  for (;; ++key) {
    const auto found = map.find(key);
    if (found == map.end()) return -1;
    if (is_equal(found->second)) return found->second;
  }
}

std::string HypothesisStore::word_string(int word) const {
  std::vector<int> chain;
  for (; word != 0; word = words_[word].parent) chain.push_back(words_[word].label);
  std::string text;
  for (auto label = chain.rbegin(); label != chain.rend(); ++label) text += labels_[*label];
  return text;
}

std::string HypothesisStore::text(int text) const {
  std::vector<int> chain;
  for (; text != 0; text = texts_[text].parent) chain.push_back(text);
  std::string joined;
  for (auto at = chain.rbegin(); at != chain.rend(); ++at) {
    if (!joined.empty()) joined += ' ';
    joined += texts_[*at].word;
  }
  return joined;
}

int HypothesisStore::extend_word(int word, int label) {
  if (labels_[label].empty()) return word;
  const auto [step, is_new] = word_steps_.try_emplace(pair_of(word, label), 0);
  if (!is_new) return step->second;
  const std::uint64_t hash = extend_hash(words_[word].hash, labels_[label]);
  std::uint64_t key = hash;
  std::string text;
  int found = find_hash(words_by_hash_, key, [&](int other) {
    if (text.empty()) text = word_string(word) + labels_[label];
    return word_string(other) == text;
  });
  if (found < 0) {
    found = add_word(word, label, hash);
    words_by_hash_.emplace(key, found);
  }
  return step->second = found;
}

int HypothesisStore::add_word(int parent, int label, std::uint64_t hash) {
  const std::string& text = labels_[label];
  Word word = words_[parent];
  word.parent = parent;
  word.label = label;
  word.hash = hash;
  word.has_entry = false;
  word.characters += label_characters_[label];
  word.bytes += text.size();
  const std::size_t skip = words_[parent].bytes;
  if (!hotwords_.empty()) {
    narrow(hotwords_.words(), word.hotwords_begin, word.hotwords_end, skip, text);
  }
  if (language_model_) {
    narrow(language_model_->unigrams(), word.unigrams_begin, word.unigrams_end, skip, text);
  }
  if (word.hotwords_begin < word.hotwords_end) {
    word.partial_score =
        hotwords_.partial_score(word.hotwords_begin, word.hotwords_end, word.characters);
  } else if (language_model_ && word.unigrams_begin == word.unigrams_end) {
    word.partial_score = language_model_->settings.unk_score_offset;
    const auto characters = static_cast<double>(word.characters);
    if (characters > kAverageCharacters) {
      word.partial_score = word.partial_score * characters / kAverageCharacters;
    }
  } else {
    word.partial_score = 0;
  }
  words_.push_back(word);
  return static_cast<int>(words_.size() - 1);
}

double HypothesisStore::score_word(int word, NgramModel::State& state, bool is_last) {
  const NgramModel& model = language_model_->model();
  Word& entry = words_[word];
  if (!entry.has_entry) {
    const std::string text = word_string(word);
    entry.model_id = model.word_id(text);
    entry.is_known = language_model_->is_known(text);
    entry.has_entry = true;
  }
  const NgramModel::Score scored = model.score(state, entry.model_id);
  state = scored.state;
  const WordLanguageModel::Settings& settings = language_model_->settings;
  double score = scored.log10_probability;
  if (!entry.is_known) score += settings.unk_score_offset;
  if (is_last) {
    score += settings.score_boundary
                 ? static_cast<double>(model.score(state, model.word_id("</s>")).log10_probability)
                 : 0.0;
  }
  return settings.alpha * score * kLog10ToLog + settings.beta;
}

std::int64_t HypothesisStore::count_hotwords(std::string_view word) const {
  if (hotwords_.empty()) return 0;
  const auto words = split_at_blanks(word);
  return std::count_if(words.begin(), words.end(),
                       [this](std::string_view part) { return hotwords_.contains(part); });
}

int HypothesisStore::history_of(int parent, std::string_view word) {
  std::vector<std::string_view> newest;  // the newest first
  const auto take = [&](std::string_view words) {
    const auto parts = split_at_blanks(words);
    for (auto part = parts.rbegin(); part != parts.rend(); ++part) {
      if (static_cast<int>(newest.size()) < history_words_) newest.push_back(*part);
    }
  };
  take(word);
  for (; parent != 0 && static_cast<int>(newest.size()) < history_words_;
       parent = texts_[parent].parent) {
    take(texts_[parent].word);
  }
  std::string key;
  for (const std::string_view part : newest) key.append(part).append(" ");
  return histories_.try_emplace(key, static_cast<int>(histories_.size())).first->second;
}

int HypothesisStore::extend_text(int text, int word) {
  if (word == 0) return text;
  const auto [step, is_new] = text_steps_.try_emplace(pair_of(text, word), 0);
  if (!is_new) return step->second;
  std::string added = word_string(word);
  std::uint64_t hash = texts_[text].hash;
  if (text != 0) hash = extend_hash(hash, " ");
  hash = extend_hash(hash, added);
  std::uint64_t key = hash;
  std::string whole;
  const int found = find_hash(texts_by_hash_, key, [&](int other) {
    if (whole.empty()) whole = text == 0 ? added : this->text(text) + " " + added;
    return this->text(other) == whole;
  });
  if (found >= 0) return step->second = found;

  Text next;
  next.parent = text;
  next.hash = hash;
  next.hotwords = texts_[text].hotwords + count_hotwords(added);
  next.score = hotwords_.weight() * static_cast<double>(next.hotwords);
  if (language_model_) {
    next.state = texts_[text].state;
    next.model_score = texts_[text].model_score + score_word(word, next.state, false);
    next.score = next.model_score + next.score;
  }
  if (history_words_ > 0) next.history = history_of(text, added);
  next.word = std::move(added);
  texts_.push_back(std::move(next));
  const int number = static_cast<int>(texts_.size() - 1);
  texts_by_hash_.emplace(key, number);
  return step->second = number;
}

double HypothesisStore::final_score(int text, int word) {
  const Text& before = texts_[text];
  const std::int64_t count = before.hotwords + (word == 0 ? 0 : count_hotwords(word_string(word)));
  const double hotword_score = hotwords_.weight() * static_cast<double>(count);
  if (!language_model_) return hotword_score;
  NgramModel::State state = before.state;
  return before.model_score + score_word(word, state, true) + hotword_score;
}

void HypothesisStore::collect(std::span<int*> texts, std::span<int*> words) {
  // Parents have lower numbers than what is made of them.
  const auto forget = [](auto& entries, std::span<int*> kept) {
    std::vector<int> numbers(entries.size(), -1);
    numbers[0] = 0;
    for (const int* number : kept) numbers[*number] = 0;
    for (std::size_t i = entries.size(); i-- > 1;) {
      if (numbers[i] == 0) numbers[entries[i].parent] = 0;
    }
    std::size_t next = 0;
    for (std::size_t i = 0; i < entries.size(); ++i) {
      if (numbers[i] < 0) continue;
      numbers[i] = static_cast<int>(next);
      entries[i].parent = numbers[entries[i].parent];
      if (next != i) entries[next] = std::move(entries[i]);
      ++next;
    }
    entries.resize(next);
    for (int* number : kept) *number = numbers[*number];
  };
  forget(texts_, texts);
  forget(words_, words);
  word_steps_.clear();
  text_steps_.clear();
  words_by_hash_.clear();
  texts_by_hash_.clear();
  const auto enter = [](PairMap& map, const auto& entries) {
    for (std::size_t i = 0; i < entries.size(); ++i) {
      std::uint64_t key = entries[i].hash;
      while (!map.emplace(key, static_cast<int>(i)).second) ++key;
    }
  };
  enter(words_by_hash_, words_);
  enter(texts_by_hash_, texts_);
  histories_.clear();
  histories_.emplace("", 0);
  for (std::size_t i = 1; history_words_ > 0 && i < texts_.size(); ++i) {
    texts_[i].history = history_of(texts_[i].parent, texts_[i].word);
  }
  word_limit_ = std::max(kMinLimit, 4 * words_.size());
  text_limit_ = std::max(kMinLimit, 4 * texts_.size());
}

}  // namespace w2vbert
