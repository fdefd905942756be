// ARPA text -> hash tables, as KenLM makes them (lm/read_arpa.cc, lm/search_hashed.cc, version
// 0.3.0).
#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstddef>
#include <optional>
#include <utility>

#include "core/parse_number.h"
#include "core/text.h"
#include "ctc/probing_tables.h"
#include "w2vbert/core/error.h"

namespace w2vbert {
namespace {

constexpr std::size_t kMaxLineBytes = 1 << 16;
constexpr std::size_t kMaxWords = std::size_t{1} << 31;
// KenLM: Config::unknown_missing_logprob, for a model that does not list <unk>.
constexpr float kUnknownLog10 = -100.0F;

// As in a file, but that all tables have places for backoffs.
struct Entry {
  std::uint64_t key = 0;
  float probability = 0;
  float backoff = 0;
};
struct WordEntry {
  std::uint64_t key = 0;
  std::uint32_t id = 0;
  std::uint32_t padding = 0;
};

// A hash table that grows: what a file says of its size is not trusted.
template <typename Element>
class GrowingTable {
 public:
  // Where the key is, or null.
  Element* find(std::uint64_t key) {
    if (slots_.empty() || key == 0) return nullptr;
    Element& slot = slots_[place_of(key)];
    return slot.key == key ? &slot : nullptr;
  }
  // Adds it unless its key is there; whether it was added. Places move.
  bool add(const Element& element) {
    if (element.key == 0) return false;
    if (10 * (used_ + 1) > 7 * slots_.size()) grow();
    Element& slot = slots_[place_of(element.key)];
    if (slot.key == element.key) return false;
    slot = element;
    ++used_;
    return true;
  }
  std::vector<Element> take() { return std::move(slots_); }

 private:
  std::size_t place_of(std::uint64_t key) const {
    std::size_t place = key % slots_.size();
    while (slots_[place].key != 0 && slots_[place].key != key) {
      if (++place == slots_.size()) place = 0;
    }
    return place;
  }
  void grow() {
    std::vector<Element> old(slots_.empty() ? 1024 : 2 * slots_.size());
    old.swap(slots_);
    for (const Element& element : old) {
      if (element.key != 0) slots_[place_of(element.key)] = element;
    }
  }

  std::vector<Element> slots_;
  std::size_t used_ = 0;
};

// Lines without their end, of at most kMaxLineBytes.
class Lines {
 public:
  Lines(ByteBlocks& blocks, const std::string& path) : blocks_(blocks), path_(path) {}

  // The next line, valid until the following call; nothing at the end.
  std::optional<std::string_view> next() {
    kept_.clear();
    for (;;) {
      const std::size_t end = block_.find('\n');
      if (end != std::string_view::npos) {
        std::string_view line = block_.substr(0, end);
        block_.remove_prefix(end + 1);
        if (!kept_.empty()) {
          keep(line);
          line = kept_;
        }
        return finish(line);
      }
      keep(block_);
      block_ = blocks_.next();
      if (block_.empty()) {
        if (kept_.empty()) return std::nullopt;
        return finish(kept_);
      }
    }
  }

  [[noreturn]] void fail(std::string_view problem, std::string_view expected = {}) const {
    throw ConfigError(path_, "line " + std::to_string(number_), problem, expected);
  }

 private:
  void keep(std::string_view bytes) {
    if (bytes.size() > kMaxLineBytes - kept_.size()) {
      ++number_;
      fail("is longer than " + std::to_string(kMaxLineBytes) + " bytes");
    }
    kept_ += bytes;
  }
  std::string_view finish(std::string_view line) {
    ++number_;
    if (line.size() > kMaxLineBytes) {
      fail("is longer than " + std::to_string(kMaxLineBytes) + " bytes");
    }
    if (line.ends_with('\r')) line.remove_suffix(1);
    return line;
  }

  ByteBlocks& blocks_;
  const std::string& path_;
  std::string_view block_;
  std::string kept_;
  std::uint64_t number_ = 0;
};

bool is_blank(std::string_view line) {
  return line.find_first_not_of(" \t\n\v\f\r") == std::string_view::npos;
}

std::string_view quoted_start(std::string_view line) { return line.substr(0, 100); }

class ArpaReader {
 public:
  ArpaReader(ByteBlocks& blocks, const std::string& path) : lines_(blocks, path), path_(path) {}

  std::shared_ptr<NgramTables> read() {
    read_counts();
    tables_.resize(counts_.size() - 1);
    read_unigrams();
    for (std::size_t order = 2; order <= counts_.size(); ++order) read_ngrams(order);
    read_end();
    if (!saw_unknown_) unigrams_[0] = {kUnknownLog10, 0.0F};
    return finish();
  }

 private:
  using Weights = NgramWeights;

  std::string_view line(std::string_view expected) {
    const auto next = lines_.next();
    if (!next) throw ConfigError(path_, "", "is truncated", expected);
    return *next;
  }

  // KenLM: before the data are blank lines and comments alone.
  void read_counts() {
    std::string_view text = line("\\data\\");
    while (is_blank(text) || text.starts_with('#')) text = line("\\data\\");
    if (text != "\\data\\") {
      lines_.fail(in_quotes(quoted_start(text)),
                  "\\data\\, with which the text of an ARPA language model begins");
    }
    constexpr std::string_view kExpected = "\"ngram N=COUNT\", for N from 1";
    while (!is_blank(text = line(kExpected))) {
      const std::size_t equals = text.find('=');
      if (!text.starts_with("ngram ") || equals == std::string_view::npos) {
        lines_.fail(in_quotes(quoted_start(text)), kExpected);
      }
      const auto order = parse_number<std::uint64_t>(trimmed(text.substr(6, equals - 6)));
      const auto count = parse_number<std::uint64_t>(trimmed(text.substr(equals + 1)));
      if (!order || *order != counts_.size() + 1 || !count) {
        lines_.fail(in_quotes(quoted_start(text)), kExpected);
      }
      counts_.push_back(*count);
      if (counts_.size() > NgramModel::kMaxOrder) {
        lines_.fail("n-grams of more than " + std::to_string(NgramModel::kMaxOrder) + " words");
      }
    }
    if (counts_.size() < 2) lines_.fail("a model of single words", "n-grams of at least 2 words");
    if (counts_[0] > kMaxWords) lines_.fail(std::to_string(counts_[0]) + " words");
  }

  static std::string_view trimmed(std::string_view text) {
    const std::size_t begin = std::min(text.find_first_not_of(" \t"), text.size());
    text.remove_prefix(begin);
    return text.substr(0, text.find_last_not_of(" \t\r") + 1);
  }

  void read_header(std::size_t order) {
    const std::string expected = "\\" + std::to_string(order) + "-grams:";
    std::string_view text = line(expected);
    while (is_blank(text)) text = line(expected);
    if (text != expected) {
      lines_.fail(in_quotes(quoted_start(text)),
                  expected + (order > 1 ? " after the n-grams that the header counts" : ""));
    }
  }

  // double-conversion, which KenLM reads numbers with: rounded to the nearest float.
  float number(std::string_view text) {
    if (text.starts_with('+')) text.remove_prefix(1);
    float value = 0;
    const char* const end = text.data() + text.size();
    auto [stop, status] = std::from_chars(text.data(), end, value);
    if (status == std::errc::result_out_of_range && stop == end) {
      // Too small for a float, or too large.
      const auto wide = parse_number<double>(text);
      if (wide && std::fabs(*wide) < 1) return static_cast<float>(*wide);
    }
    if (status != std::errc() || stop != end || !std::isfinite(value)) {
      lines_.fail(in_quotes(quoted_start(text)), "a number");
    }
    return value;
  }

  float log10_probability(std::string_view text) {
    const float value = number(text);
    if (value > 0) lines_.fail("a log10 probability of " + std::string(text), "at most 0");
    return value;
  }

  // Always negative where it is zero: read_ngrams() tells of the contexts.
  float backoff_of(std::string_view text) {
    const float value = number(text);
    return value == 0 ? kNoExtension : value;
  }

  // The part up to a separator, which is cut off with it.
  static std::string_view cut(std::string_view& rest, std::string_view separators) {
    const std::size_t end = std::min(rest.find_first_of(separators), rest.size());
    const std::string_view part = rest.substr(0, end);
    rest.remove_prefix(std::min(end + 1, rest.size()));
    return part;
  }

  void read_unigrams() {
    read_header(1);
    unigrams_.resize(1);
    for (std::uint64_t i = 0; i < counts_[0]; ++i) {
      std::string_view rest = line("the words that the header counts");
      if (is_blank(rest) || rest.starts_with('\\')) {
        lines_.fail(in_quotes(quoted_start(rest)), std::to_string(counts_[0]) + " words");
      }
      const std::size_t tab = rest.find('\t');
      if (tab == std::string_view::npos) lines_.fail("no tab after the probability");
      Weights weights;
      weights.log10_probability = log10_probability(trimmed(rest.substr(0, tab)));
      rest.remove_prefix(tab + 1);
      const std::size_t begin = std::min(rest.find_first_not_of("\t \r"), rest.size());
      rest.remove_prefix(begin);
      const bool has_backoff = rest.find('\t') != std::string_view::npos;
      const std::string_view word = cut(rest, "\t");
      if (word.empty() || word.find_first_of(" \r") != std::string_view::npos) {
        lines_.fail(in_quotes(quoted_start(word)), "a word");
      }
      weights.backoff = has_backoff ? backoff_of(trimmed(rest)) : kNoExtension;
      add_word(word, weights);
      if (has_backoff) arpa_unigrams_.emplace_back(word);
    }
    begin_sentence_ = id_of("<s>");
    for (const char* marker : {"<s>", "</s>"}) {
      if (id_of(marker) == 0) throw ConfigError(path_, marker, "is not among the words");
    }
  }

  void add_word(std::string_view word, const Weights& weights) {
    if (word == "<unk>" || word == "<UNK>") {
      saw_unknown_ = true;
      unigrams_[0] = weights;
      return;
    }
    // A word that stands twice has two numbers, of which the first is found.
    words_.add({word_hash(word), static_cast<std::uint32_t>(unigrams_.size())});
    unigrams_.push_back(weights);
  }

  std::uint32_t id_of(std::string_view word) {
    const WordEntry* found = words_.find(word_hash(word));
    return found ? found->id : 0;
  }

  void read_ngrams(std::size_t order) {
    read_header(order);
    std::vector<std::uint32_t> words(order);     // the newest first
    std::vector<std::uint64_t> keys(order - 1);  // of the n-grams of 2, 3, ... newest words
    for (std::uint64_t i = 0; i < counts_[order - 1]; ++i) {
      std::string_view rest = line("the n-grams that the header counts");
      if (is_blank(rest) || rest.starts_with('\\')) {
        lines_.fail(in_quotes(quoted_start(rest)),
                    std::to_string(counts_[order - 1]) + " " + std::to_string(order) + "-grams");
      }
      rest.remove_prefix(std::min(rest.find_first_not_of(" \t"), rest.size()));
      Entry entry;
      entry.probability = log10_probability(cut(rest, " \t"));
      for (std::size_t k = order; k-- > 0;) {
        rest.remove_prefix(std::min(rest.find_first_not_of(" \t"), rest.size()));
        // Before the backoff stands a tab.
        const std::string_view word =
            rest.substr(0, std::min(rest.find_first_of(" \t"), rest.size()));
        rest.remove_prefix(word.size());
        words[k] = id_of(word);
        if (words[k] == 0 && word != "<unk>" && word != "<UNK>") {
          lines_.fail(in_quotes(quoted_start(word)), "one of the words that stand as 1-grams");
        }
      }
      if (!rest.empty() && rest.front() != '\t') {
        lines_.fail(in_quotes(quoted_start(rest)), "a tab and a backoff, or the line's end");
      }
      const std::string_view backoff = trimmed(rest);
      const bool is_longest = order == counts_.size();
      entry.backoff = rest.empty() ? kNoExtension : backoff_of(backoff);
      if (is_longest && entry.backoff != 0) {
        lines_.fail("a backoff of " + std::string(backoff) + " of one of the longest n-grams");
      }
      keys[0] = combine_word(words[0], words[1]);
      for (std::size_t k = 1; k < keys.size(); ++k)
        keys[k] = combine_word(keys[k - 1], words[k + 1]);
      // Nothing longer ends in it, as far as is known.
      entry.probability = -std::fabs(entry.probability);
      entry.key = keys.back();
      tables_[order - 2].add(entry);
      mark_shorter(words, keys);
      mark_context(words);
    }
  }

  static void mark_extended(float& probability) { probability = std::fabs(probability); }
  static void mark_extended_backoff(float& backoff) {
    if (backoff == 0) backoff = 0.0F;
  }

  // KenLM: FindLower and AdjustLower: the n-gram without its oldest words is told that a longer one
  // ends in it. Where SRILM has left it out, it comes back as what backing off gives.
  void mark_shorter(const std::vector<std::uint32_t>& words,
                    const std::vector<std::uint64_t>& keys) {
    const std::size_t order = words.size();
    std::size_t basis = order - 1;  // words of the longest that is there
    for (; basis >= 2; --basis) {
      if (Entry* found = tables_[basis - 2].find(keys[basis - 2])) {
        mark_extended(found->probability);
        break;
      }
    }
    float probability = 0;
    if (basis == 1) {
      probability = -std::fabs(unigrams_[words[0]].log10_probability);
      mark_extended(unigrams_[words[0]].log10_probability);
      if (order == 2) return;
    } else {
      if (basis == order - 1) return;
      probability = -std::fabs(tables_[basis - 2].find(keys[basis - 2])->probability);
    }
    std::uint64_t context = words[1];
    for (std::size_t k = 2; k <= basis; ++k) context = combine_word(context, words[k]);
    for (; basis < order - 1; ++basis) {
      float* backoff = nullptr;
      if (basis == 1) {
        backoff = &unigrams_[words[1]].backoff;
      } else if (Entry* found = tables_[basis - 2].find(context)) {
        backoff = &found->backoff;
      }
      if (backoff) {
        mark_extended_backoff(*backoff);
        probability += *backoff;
      }
      tables_[basis - 1].add({keys[basis - 1], std::fabs(probability), kNoExtension});
      context = combine_word(context, words[basis + 1]);
    }
  }

  // KenLM: ActivateUnigram and ActivateLowerMiddle: the n-gram without its newest word is told that
  // a longer one begins with it.
  void mark_context(const std::vector<std::uint32_t>& words) {
    if (words.size() == 2) {
      mark_extended_backoff(unigrams_[words[1]].backoff);
      return;
    }
    std::uint64_t key = words[1];
    for (std::size_t k = 2; k < words.size(); ++k) key = combine_word(key, words[k]);
    Entry* found = tables_[words.size() - 3].find(key);
    if (!found) {
      lines_.fail("an n-gram whose context, all but its last word, is no n-gram of the model");
    }
    mark_extended_backoff(found->backoff);
  }

  void read_end() {
    std::string_view text = line("\\end\\");
    while (is_blank(text)) text = line("\\end\\");
    if (text != "\\end\\") lines_.fail(in_quotes(quoted_start(text)), "\\end\\");
    while (const auto rest = lines_.next()) {
      if (!is_blank(*rest)) lines_.fail("text after \\end\\");
    }
  }

  std::shared_ptr<NgramTables> finish() {
    struct Owned {
      std::vector<WordEntry> words;
      std::vector<Weights> unigrams;
      std::vector<std::vector<Entry>> tables;
    };
    auto owned = std::make_shared<Owned>();
    owned->words = words_.take();
    owned->unigrams = std::move(unigrams_);
    for (auto& table : tables_) owned->tables.push_back(table.take());
    auto result = std::make_shared<ProbingTables>();
    const auto view = [](const auto& elements) {
      return ProbingView{reinterpret_cast<const std::byte*>(elements.data()), elements.size(),
                         sizeof(elements[0])};
    };
    result->words = view(owned->words);
    result->unigrams = reinterpret_cast<const std::byte*>(owned->unigrams.data());
    result->unigram_stride = sizeof(Weights);
    for (std::size_t i = 0; i + 1 < owned->tables.size(); ++i) {
      result->middles.push_back(view(owned->tables[i]));
    }
    result->longest = view(owned->tables.back());
    result->owner = owned;
    result->order = static_cast<int>(counts_.size());
    result->kind = "ARPA";
    result->begin_sentence = begin_sentence_;
    result->arpa_unigrams = std::move(arpa_unigrams_);
    return result;
  }

  Lines lines_;
  const std::string& path_;
  std::vector<std::uint64_t> counts_;
  GrowingTable<WordEntry> words_;
  std::vector<Weights> unigrams_;            // by number; 0 is <unk>
  std::vector<GrowingTable<Entry>> tables_;  // from order 2 to the longest
  std::vector<std::string> arpa_unigrams_;
  std::uint32_t begin_sentence_ = 0;
  bool saw_unknown_ = false;
};

}  // namespace

std::shared_ptr<NgramTables> read_arpa(ByteBlocks& blocks, const std::string& path) {
  return ArpaReader(blocks, path).read();
}

}  // namespace w2vbert
