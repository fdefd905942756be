// KenLM's binary files, format version 5, as version 0.3.0 writes them: lm/binary_format.cc
// (header), lm/vocab.cc (words), lm/search_hashed.hh and lm/value.hh (probing), lm/search_trie.hh,
// lm/trie.cc, lm/quantize.hh and lm/bhiksha.cc (tries), util/bit_packing.hh. KenLM trusts its
// files; here each size is held against the file, and each number and place that a score could
// reach is looked at, before there is a model.
#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <limits>
#include <optional>
#include <utility>

#include "core/text.h"
#include "ctc/probing_tables.h"
#include "w2vbert/core/error.h"

namespace w2vbert {
namespace {

constexpr std::string_view kMagic = "mmap lm http://kheafield.com/code format version 5\n";
constexpr std::string_view kMagicOfAnyVersion = "mmap lm http://kheafield.com/code";
constexpr std::size_t kMagicBytes = 56;
constexpr std::size_t kSanityBytes = kMagicBytes + 4 * 6 + 8;
constexpr std::size_t kFixedBytes = 20;
constexpr std::size_t kFixedAt = kSanityBytes;
constexpr std::size_t kCountsAt = kFixedAt + kFixedBytes;

enum ModelType : std::uint32_t {
  kProbing = 0,
  kRestProbing = 1,
  kTrie = 2,
  kQuantTrie = 3,
  kArrayTrie = 4,
  kQuantArrayTrie = 5,
};
constexpr const char* kKinds[] = {"probing",
                                  "probing with rest costs",
                                  "trie",
                                  "trie with quantisation",
                                  "trie with array-compressed pointers",
                                  "trie with quantisation and array-compressed pointers"};

std::uint64_t multiple_of_8(std::uint64_t bytes) { return (bytes + 7) / 8 * 8; }

// What stands between the magic and the parameters: values that show how the machine stores
// numbers.
std::array<std::byte, kSanityBytes> expected_start() {
  std::array<std::byte, kSanityBytes> start{};
  std::memcpy(start.data(), kMagic.data(), kMagic.size());
  const std::array<float, 3> floats = {0.0F, 1.0F, -0.5F};
  const std::array<std::uint32_t, 3> words = {1, std::numeric_limits<std::uint32_t>::max(), 0};
  const std::uint64_t one = 1;
  std::memcpy(start.data() + kMagicBytes, floats.data(), sizeof(floats));
  std::memcpy(start.data() + kMagicBytes + sizeof(floats), words.data(), sizeof(words));
  std::memcpy(start.data() + kMagicBytes + sizeof(floats) + sizeof(words), &one, sizeof(one));
  return start;
}

struct Header {
  int order = 0;
  float probing_multiplier = 0;
  ModelType type = kProbing;
  bool has_words = false;
  std::vector<std::uint64_t> counts;
  std::uint64_t bytes = 0;  // of the header
};

// A file and what is wrong with it. All sizes are below 2^63: counts are below the file's size.
class KenlmFile {
 public:
  KenlmFile(const std::byte* bytes, std::uint64_t size, const std::string& path)
      : bytes_(bytes), size_(size), path_(path) {}

  [[noreturn]] void fail(std::string_view key, std::string_view problem,
                         std::string_view expected = {}) const {
    throw ConfigError(path_, key, problem, expected);
  }
  [[noreturn]] void fail_damaged(std::string_view part) const {
    fail(part, "is damaged", "a binary file as KenLM's build_binary writes it");
  }

  // Hands out `bytes` bytes from where the last ones ended.
  const std::byte* part(std::string_view name, std::uint64_t bytes) {
    if (bytes > size_ - at_) {
      fail(name, "ends after " + std::to_string(size_) + " bytes",
           "at least " + std::to_string(at_) + " + " + std::to_string(bytes) + ", by its header");
    }
    const std::byte* const begin = bytes_ + at_;
    at_ += bytes;
    return begin;
  }
  std::uint64_t at() const { return at_; }

  Header read_header() {
    const std::string_view text(reinterpret_cast<const char*>(bytes_),
                                std::min<std::uint64_t>(size_, 64));
    if (!text.starts_with(kMagic)) {
      fail("",
           text.starts_with("mmap lm http://kheafield.com/code incomplete")
               ? "is a binary file of KenLM that was not written to its end"
               : "is a binary file of KenLM in another version of the format",
           "version 5: make it anew from the ARPA text by build_binary");
    }
    const std::byte* const start = part("header", kCountsAt);
    const auto expected = expected_start();
    if (!std::equal(expected.begin(), expected.end(), start)) {
      fail("header", "is of a machine that stores numbers in another way, or damaged",
           "version 5: make it anew from the ARPA text by build_binary");
    }
    const std::byte* const fixed = start + kFixedAt;
    Header header;
    header.order = load_value<std::uint8_t>(fixed);
    header.probing_multiplier = load_value<float>(fixed + 4);
    const auto type = load_value<std::uint32_t>(fixed + 8);
    const auto has_words = load_value<std::uint8_t>(fixed + 12);
    const auto search_version = load_value<std::uint32_t>(fixed + 16);
    if (type >= std::size(kKinds)) {
      fail("model type", std::to_string(type), "0 to 5: probing and trie models");
    }
    header.type = static_cast<ModelType>(type);
    if (search_version != (header.type >= kTrie ? 1 : 0)) {
      fail("search version", std::to_string(search_version),
           "the one of KenLM 0.3.0: make it anew from the ARPA text by build_binary");
    }
    if (header.order < 2 || header.order > NgramModel::kMaxOrder) {
      fail("order", std::to_string(header.order), "2 to " + std::to_string(NgramModel::kMaxOrder));
    }
    if (!(header.probing_multiplier >= 1 && header.probing_multiplier <= 1024)) {
      fail("probing multiplier", number_text(header.probing_multiplier), "1 to 1024");
    }
    if (has_words > 1) fail_damaged("header");
    header.has_words = has_words == 1;
    const std::byte* const counts = part("header", sizeof(std::uint64_t) * header.order);
    for (int i = 0; i < header.order; ++i) {
      header.counts.push_back(load_value<std::uint64_t>(counts + sizeof(std::uint64_t) * i));
      // Each n-gram takes several bytes.
      if (header.counts.back() >= size_) {
        fail("counts", std::to_string(header.counts.back()) + " " + std::to_string(i + 1) +
                           "-grams in " + std::to_string(size_) + " bytes");
      }
    }
    if (header.counts[0] >= std::numeric_limits<std::uint32_t>::max()) {
      fail("counts", std::to_string(header.counts[0]) + " words");
    }
    header.bytes = multiple_of_8(at_);
    part("header", header.bytes - at_);
    return header;
  }

  void check_words(const Header& header) {
    if (!header.has_words) return;
    constexpr std::string_view kFirst{"<unk>\0", 6};
    const std::byte* const words = part("words", kFirst.size());
    if (std::memcmp(words, kFirst.data(), kFirst.size()) != 0) fail_damaged("words");
  }

 private:
  const std::byte* bytes_;
  std::uint64_t size_;
  const std::string& path_;
  std::uint64_t at_ = 0;
};

// ---- probing ----

std::uint64_t probing_places(std::uint64_t entries, float multiplier) {
  return std::max(entries + 1,
                  static_cast<std::uint64_t>(multiplier * static_cast<float>(entries)));
}

class ProbingReader {
 public:
  ProbingReader(KenlmFile& file, const Header& header)
      : file_(file), header_(header), tables_(std::make_shared<ProbingTables>()) {}

  std::shared_ptr<ProbingTables> read() {
    const std::uint64_t weight_bytes = header_.type == kRestProbing ? 12 : 8;
    read_words();
    const std::uint64_t unigrams = header_.counts[0] + 1;  // one for an <unk> that was added
    tables_->unigram_stride = weight_bytes;
    tables_->unigrams = file_.part("1-grams", unigrams * weight_bytes);
    for (std::uint64_t i = 0; i < unigrams; ++i) {
      check(tables_->unigrams + i * weight_bytes, "1-grams", true);
    }
    for (int order = 2; order < header_.order; ++order) {
      tables_->middles.push_back(read_table(order, 8 + weight_bytes, true));
    }
    tables_->longest = read_table(header_.order, 8 + sizeof(float), false);
    return tables_;
  }

 private:
  void read_words() {
    const std::byte* const head = file_.part("vocabulary", 8);
    if (load_value<std::uint32_t>(head) != 0) fail_version();
    const auto words = load_value<std::uint32_t>(head + 4);
    if (words > header_.counts[0] + 1) file_.fail_damaged("vocabulary");
    tables_->words.stride = 12;
    tables_->words.places = probing_places(header_.counts[0], header_.probing_multiplier);
    tables_->words.entries = file_.part("vocabulary", tables_->words.places * 12);
    for (std::uint64_t i = 0; i < tables_->words.places; ++i) {
      if (tables_->words.key(i) != 0 &&
          load_value<std::uint32_t>(tables_->words.at(i) + 8) >= words) {
        file_.fail_damaged("vocabulary");
      }
    }
  }

  [[noreturn]] void fail_version() const {
    file_.fail("vocabulary", "is in another version",
               "the one of KenLM 0.3.0: make it anew from the ARPA text by build_binary");
  }

  ProbingView read_table(int order, std::uint64_t stride, bool has_backoff) {
    const std::string name = std::to_string(order) + "-grams";
    ProbingView view;
    view.stride = stride;
    view.places = probing_places(header_.counts[order - 1], header_.probing_multiplier);
    view.entries = file_.part(name, view.places * stride);
    for (std::uint64_t i = 0; i < view.places; ++i) {
      if (view.key(i) != 0) check(view.at(i) + 8, name, has_backoff);
    }
    return view;
  }

  // The sign of a probability means something else.
  void check(const std::byte* weights, std::string_view name, bool has_backoff) const {
    if (!std::isfinite(load_value<float>(weights)) ||
        (has_backoff && !std::isfinite(load_value<float>(weights + 4)))) {
      file_.fail_damaged(name);
    }
  }

  KenlmFile& file_;
  const Header& header_;
  std::shared_ptr<ProbingTables> tables_;
};

// ---- tries ----

int required_bits(std::uint64_t max_value) { return static_cast<int>(std::bit_width(max_value)); }

struct Range {
  std::uint64_t begin = 0;
  std::uint64_t end = 0;
};

// Up to 57 bits from bit `at` on.
std::uint64_t read_bits(const std::byte* base, std::uint64_t at, int bits) {
  return (load_value<std::uint64_t>(base + at / 8) >> (at % 8)) & ((std::uint64_t{1} << bits) - 1);
}

float read_float(const std::byte* base, std::uint64_t at, int bits) {
  return std::bit_cast<float>(static_cast<std::uint32_t>(read_bits(base, at, bits)));
}

// The values that quantised weights stand for; none where they are not quantised.
struct Bins {
  const std::byte* values = nullptr;
  int bits = 0;
  float value(std::uint64_t bin) const { return load_value<float>(values + bin * sizeof(float)); }
};

// The n-grams of one order, packed into bits: word, weights, and where the longer ones begin.
struct TrieLevel {
  const std::byte* base = nullptr;
  std::uint64_t entries = 0;
  int word_bits = 0;
  int weight_bits = 0;
  int next_bits = 0;  // 0 for the longest
  Bins probability;
  Bins backoff;
  // Array-compressed: from which entry on the pointers' high bits are 0, 1, ...
  const std::byte* offsets = nullptr;
  std::uint64_t offset_count = 0;

  int total_bits() const { return word_bits + weight_bits + next_bits; }
  std::uint64_t word(std::uint64_t entry) const {
    return read_bits(base, entry * total_bits(), word_bits);
  }
  std::uint64_t weights_at(std::uint64_t entry) const { return entry * total_bits() + word_bits; }
  NgramWeights weights(std::uint64_t entry) const {
    const std::uint64_t at = weights_at(entry);
    if (probability.values) {
      return {probability.value(read_bits(base, at + backoff.bits, probability.bits)),
              backoff.value(read_bits(base, at, backoff.bits))};
    }
    return {-std::fabs(read_float(base, at, 31)), read_float(base, at + 31, 32)};
  }
  float longest_probability(std::uint64_t entry) const {
    const std::uint64_t at = weights_at(entry);
    if (probability.values) return probability.value(read_bits(base, at, probability.bits));
    return -std::fabs(read_float(base, at, 31));
  }

  std::uint64_t offset(std::uint64_t i) const {
    return load_value<std::uint64_t>(offsets + i * sizeof(std::uint64_t));
  }
  // The number of the last offset that is not above `entry`; the first one is 0.
  std::uint64_t high_bits(std::uint64_t entry) const {
    std::uint64_t low = 0;
    std::uint64_t high = offset_count;
    while (high - low > 1) {
      const std::uint64_t middle = low + (high - low) / 2;
      (offset(middle) <= entry ? low : high) = middle;
    }
    return low;
  }
  std::uint64_t next_of(std::uint64_t entry) const {
    const std::uint64_t low = read_bits(base, weights_at(entry) + weight_bits, next_bits);
    return offsets ? (high_bits(entry) << next_bits) | low : low;
  }
  Range next(std::uint64_t entry) const { return {next_of(entry), next_of(entry + 1)}; }

  // The entry with `wanted` in the range, whose words ascend.
  std::optional<std::uint64_t> find(Range range, std::uint32_t wanted) const {
    while (range.begin < range.end) {
      const std::uint64_t middle = range.begin + (range.end - range.begin) / 2;
      const std::uint64_t found = word(middle);
      if (found == wanted) return middle;
      if (found < wanted) {
        range.begin = middle + 1;
      } else {
        range.end = middle;
      }
    }
    return std::nullopt;
  }
};

// KenLM: TrieSearch and SortedVocabulary.
class TrieTables : public NgramTables {
 public:
  struct Walk {
    Range range;
    NgramWeights weights;
    bool extends = false;
  };
  static constexpr std::uint64_t kUnigramBytes = 16;

  std::uint32_t word_id(std::string_view word) const override {
    const std::uint64_t wanted = word_hash(word);
    std::uint64_t low = 0;
    std::uint64_t high = words;
    while (low < high) {
      const std::uint64_t middle = low + (high - low) / 2;
      const std::uint64_t found = hash(middle);
      if (found == wanted) return static_cast<std::uint32_t>(middle + 1);
      if (found < wanted) {
        low = middle + 1;
      } else {
        high = middle;
      }
    }
    return 0;
  }
  NgramWeights unigram(std::uint32_t word) const override { return start(word).weights; }
  NgramModel::Score score(const NgramModel::State& state, std::uint32_t word) const override {
    return score_ngram(*this, state, word);
  }

  Walk start(std::uint32_t word) const {
    const std::byte* const at = unigrams + kUnigramBytes * word;
    Walk walk;
    walk.weights = {load_value<float>(at), load_value<float>(at + 4)};
    walk.range = {load_value<std::uint64_t>(at + 8),
                  load_value<std::uint64_t>(at + 8 + kUnigramBytes)};
    walk.extends = walk.range.begin != walk.range.end;
    return walk;
  }
  bool find_middle(Walk& walk, int of_order, std::uint32_t word) const {
    const TrieLevel& level = levels[of_order - 2];
    const auto entry = level.find(walk.range, word);
    if (!entry) return false;
    walk.weights = level.weights(*entry);
    walk.range = level.next(*entry);
    walk.extends = walk.range.begin != walk.range.end;
    return true;
  }
  bool find_longest(const Walk& walk, std::uint32_t word, float& log10_probability) const {
    const auto entry = levels.back().find(walk.range, word);
    if (entry) log10_probability = levels.back().longest_probability(*entry);
    return entry.has_value();
  }

  std::uint64_t hash(std::uint64_t i) const {
    return load_value<std::uint64_t>(hashes + i * sizeof(std::uint64_t));
  }

  const std::byte* hashes = nullptr;  // of the words from number 1 on, ascending
  std::uint64_t words = 0;
  const std::byte* unigrams = nullptr;
  std::vector<TrieLevel> levels;  // from order 2 to the longest
  std::unique_ptr<std::byte[]> owner;
};

class TrieReader {
 public:
  TrieReader(KenlmFile& file, const Header& header)
      : file_(file), header_(header), tables_(std::make_shared<TrieTables>()) {}

  std::shared_ptr<TrieTables> read() {
    read_words();
    read_bins();
    const std::uint64_t unigrams = header_.counts[0] + 2;
    tables_->unigrams = file_.part("1-grams", unigrams * TrieTables::kUnigramBytes);
    for (int order = 2; order <= header_.order; ++order) read_level(order);
    check();
    return tables_;
  }

 private:
  bool is_quantised() const {
    return header_.type == kQuantTrie || header_.type == kQuantArrayTrie;
  }
  bool is_array() const { return header_.type == kArrayTrie || header_.type == kQuantArrayTrie; }
  static std::string name_of(int order) { return std::to_string(order) + "-grams"; }

  void read_words() {
    tables_->words = load_value<std::uint64_t>(file_.part("vocabulary", 8));
    // The counts have <unk> among the words, this one does not.
    if (tables_->words >= header_.counts[0]) file_.fail_damaged("vocabulary");
    tables_->hashes = file_.part("vocabulary", sizeof(std::uint64_t) * header_.counts[0]);
    for (std::uint64_t i = 1; i < tables_->words; ++i) {
      if (tables_->hash(i - 1) > tables_->hash(i)) file_.fail_damaged("vocabulary");
    }
  }

  void read_bins() {
    bins_.resize(header_.order - 1);
    if (!is_quantised()) return;
    const std::byte* const head = file_.part("bins", 8);
    const auto version = load_value<std::uint8_t>(head);
    const int probability_bits = load_value<std::uint8_t>(head + 1);
    const int backoff_bits = load_value<std::uint8_t>(head + 2);
    if (version != 2) file_.fail("bins", "are in version " + std::to_string(version), "version 2");
    for (const int bits : {probability_bits, backoff_bits}) {
      if (bits < 1 || bits > 25) file_.fail("bins", std::to_string(bits) + " bits", "1 to 25");
    }
    for (int order = 2; order <= header_.order; ++order) {
      auto& [probability, backoff] = bins_[order - 2];
      probability = read_bins(probability_bits);
      if (order < header_.order) backoff = read_bins(backoff_bits);
    }
  }

  Bins read_bins(int bits) { return {file_.part("bins", sizeof(float) << bits), bits}; }

  // KenLM: ChopBits: how many high bits of pointers the array takes over so that both are smallest.
  static int chopped_bits(std::uint64_t max_offset, std::uint64_t max_next, int configured) {
    const int required = required_bits(max_next);
    int best = 0;
    std::int64_t lowest = std::numeric_limits<std::int64_t>::max();
    for (int chop = 0; chop <= std::min(required, configured); ++chop) {
      const auto change = static_cast<std::int64_t>((max_next >> (required - chop)) * 64 -
                                                    max_offset * static_cast<std::uint64_t>(chop));
      if (change < lowest) {
        lowest = change;
        best = chop;
      }
    }
    return best;
  }

  void read_level(int order) {
    const bool is_longest = order == header_.order;
    TrieLevel level;
    level.entries = header_.counts[order - 1];
    level.word_bits = required_bits(header_.counts[0]);
    level.probability = bins_[order - 2].first;
    level.backoff = bins_[order - 2].second;
    if (is_quantised()) {
      level.weight_bits = level.probability.bits + level.backoff.bits;
    } else {
      level.weight_bits = is_longest ? 31 : 63;
    }
    if (!is_longest) {
      const std::uint64_t max_next = header_.counts[order];
      level.next_bits = required_bits(max_next);
      if (is_array()) read_offsets(order, level, max_next);
    }
    const std::uint64_t bits = (1 + level.entries) * static_cast<std::uint64_t>(level.total_bits());
    // 8 bytes more, for a number is read as 8 bytes.
    level.base = file_.part(name_of(order), (bits + 7) / 8 + sizeof(std::uint64_t));
    tables_->levels.push_back(level);
  }

  // The array begins at a multiple of 8 bytes, and has 7 spare ones for that.
  void read_offsets(int order, TrieLevel& level, std::uint64_t max_next) {
    const std::string name = name_of(order);
    const std::uint64_t begin = file_.at();
    const std::byte* const head = file_.part(name, sizeof(std::uint64_t));
    if (order == 2) {
      const auto version = load_value<std::uint8_t>(head);
      if (version != 0) {
        file_.fail("pointers", "are in version " + std::to_string(version), "version 0");
      }
      pointer_bits_ = load_value<std::uint8_t>(head + 1);
    }
    const int chopped = chopped_bits(level.entries + 1, max_next, pointer_bits_);
    level.next_bits -= chopped;
    level.offset_count = (max_next >> level.next_bits) + 1;
    const std::uint64_t padding = multiple_of_8(begin) - begin;
    level.offsets = file_.part(name, level.offset_count * sizeof(std::uint64_t) + 7) + padding;
    if (level.offset(0) != 0) file_.fail_damaged(name);
    for (std::uint64_t i = 1; i < level.offset_count; ++i) {
      if (level.offset(i - 1) > level.offset(i)) file_.fail_damaged(name);
    }
  }

  // Each entry that a walk can come to.
  void check() const {
    const std::uint64_t words = header_.counts[0];
    for (std::uint64_t i = 0; i < words; ++i) {
      const TrieTables::Walk walk = tables_->start(static_cast<std::uint32_t>(i));
      if (!std::isfinite(walk.weights.log10_probability) || !std::isfinite(walk.weights.backoff)) {
        file_.fail_damaged("1-grams");
      }
      check_range("1-grams", walk.range, 2);
    }
    for (int order = 2; order <= header_.order; ++order) {
      const TrieLevel& level = tables_->levels[order - 2];
      const bool is_longest = order == header_.order;
      for (std::uint64_t i = 0; i < level.entries; ++i) {
        if (is_longest) {
          if (!std::isfinite(level.longest_probability(i))) file_.fail_damaged(name_of(order));
          continue;
        }
        const NgramWeights weights = level.weights(i);
        if (!std::isfinite(weights.log10_probability) || !std::isfinite(weights.backoff)) {
          file_.fail_damaged(name_of(order));
        }
        check_range(name_of(order), level.next(i), order + 1);
      }
    }
  }

  void check_range(std::string_view name, const Range& range, int order) const {
    const TrieLevel& level = tables_->levels[order - 2];
    if (range.begin > range.end || range.end > level.entries) file_.fail_damaged(name);
    for (std::uint64_t i = range.begin; i < range.end; ++i) {
      if (level.word(i) >= header_.counts[0] ||
          (i > range.begin && level.word(i - 1) >= level.word(i))) {
        file_.fail_damaged(name_of(order));
      }
    }
  }

  KenlmFile& file_;
  const Header& header_;
  std::shared_ptr<TrieTables> tables_;
  std::vector<std::pair<Bins, Bins>> bins_;  // of probabilities and backoffs, from order 2
  int pointer_bits_ = 0;
};

}  // namespace

bool is_kenlm_binary(std::string_view first_bytes) {
  return first_bytes.starts_with(kMagicOfAnyVersion);
}

std::shared_ptr<NgramTables> read_kenlm_binary(std::unique_ptr<std::byte[]> bytes,
                                               std::uint64_t size, const std::string& path) {
  KenlmFile file(bytes.get(), size, path);
  const Header header = file.read_header();
  std::shared_ptr<NgramTables> tables;
  if (header.type == kProbing || header.type == kRestProbing) {
    auto probing = ProbingReader(file, header).read();
    probing->owner = std::shared_ptr<const void>(std::move(bytes));
    tables = std::move(probing);
  } else {
    auto trie = TrieReader(file, header).read();
    trie->owner = std::move(bytes);
    tables = std::move(trie);
  }
  file.check_words(header);
  tables->order = header.order;
  tables->kind = kKinds[header.type];
  tables->begin_sentence = tables->word_id("<s>");
  return tables;
}

}  // namespace w2vbert
