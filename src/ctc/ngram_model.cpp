#include "w2vbert/ctc/ngram_model.h"

#include <algorithm>
#include <optional>
#include <utility>

#include "core/file.h"
#include "core/git_lfs.h"
#include "core/gzip.h"
#include "ctc/ngram_tables.h"
#include "w2vbert/core/error.h"

namespace w2vbert {
namespace {

constexpr std::size_t kBlockBytes = 1 << 18;

class FileBlocks : public ByteBlocks {
 public:
  explicit FileBlocks(const InputFile& file) : file_(file), block_(kBlockBytes) {}
  std::string_view next() override {
    const auto bytes = std::min<std::uint64_t>(block_.size(), file_.size() - at_);
    if (bytes > 0) file_.read_at(at_, block_.data(), bytes);
    at_ += bytes;
    return {block_.data(), static_cast<std::size_t>(bytes)};
  }

 private:
  const InputFile& file_;
  std::vector<char> block_;
  std::uint64_t at_ = 0;
};

class MemoryBlocks : public ByteBlocks {
 public:
  explicit MemoryBlocks(std::string_view bytes) : bytes_(bytes) {}
  std::string_view next() override { return std::exchange(bytes_, {}); }

 private:
  std::string_view bytes_;
};

// What gzip has packed.
class GzipBlocks : public ByteBlocks {
 public:
  GzipBlocks(std::string_view first, ByteBlocks& packed, const std::string& path)
      : reader_(first, [&packed] { return packed.next(); }), path_(path) {}
  std::string_view next() override {
    const std::string_view bytes = reader_.next();
    if (bytes.empty() && reader_.problem()) throw ConfigError(path_, "", reader_.problem());
    return bytes;
  }

 private:
  GzipReader reader_;
  const std::string& path_;
};

// The first block again, and the others.
class WithFirst : public ByteBlocks {
 public:
  WithFirst(std::string_view first, ByteBlocks& others) : first_(first), others_(others) {}
  std::string_view next() override {
    if (!first_.empty()) return std::exchange(first_, {});
    return others_.next();
  }

 private:
  std::string_view first_;
  ByteBlocks& others_;
};

// What the first bytes show a file to be that is no language model which is read; null for another.
const char* other_kind(std::string_view first) {
  if (first.empty()) return "is empty";
  if (first.starts_with("BZh")) return "is compressed by bzip2";
  if (first.starts_with(std::string_view("\xFD\x37zXZ"))) return "is compressed by xz";
  if (first.starts_with("\x28\xB5\x2F\xFD")) return "is compressed by Zstandard";
  if (first.starts_with("blmt")) return "is a binary file of IRSTLM";
  return nullptr;
}

std::shared_ptr<NgramTables> read_text(ByteBlocks& blocks, std::string_view first,
                                       const std::string& path) {
  if (first.starts_with(kGzipMark)) {
    GzipBlocks unpacked(first, blocks, path);
    const std::string_view text = unpacked.next();
    if (is_kenlm_binary(text)) {
      throw ConfigError(path, "", "is a binary file of KenLM compressed by gzip",
                        "the file itself: gunzip it");
    }
    WithFirst all(text, unpacked);
    return read_arpa(all, path);
  }
  if (const char* problem = other_kind(first)) {
    throw ConfigError(path, "", problem,
                      "ARPA text, the same compressed by gzip, or a binary file of KenLM");
  }
  WithFirst all(first, blocks);
  return read_arpa(all, path);
}

}  // namespace

std::uint64_t word_hash(std::string_view word) {
  constexpr std::uint64_t kMultiplier = 0xc6a4a7935bd1e995;
  constexpr int kShift = 47;
  std::uint64_t hash = word.size() * kMultiplier;
  const auto* at = reinterpret_cast<const std::byte*>(word.data());
  std::size_t left = word.size();
  for (; left >= 8; left -= 8, at += 8) {
    auto piece = load_value<std::uint64_t>(at) * kMultiplier;
    piece = (piece ^ (piece >> kShift)) * kMultiplier;
    hash = (hash ^ piece) * kMultiplier;
  }
  if (left > 0) {
    std::uint64_t piece = 0;
    std::memcpy(&piece, at, left);
    hash = (hash ^ piece) * kMultiplier;
  }
  hash = (hash ^ (hash >> kShift)) * kMultiplier;
  return hash ^ (hash >> kShift);
}

bool NgramModel::State::operator==(const State& other) const {
  return length == other.length &&
         std::equal(words.begin(), words.begin() + length, other.words.begin());
}

NgramModel::NgramModel(std::shared_ptr<const NgramTables> tables) : tables_(std::move(tables)) {}

NgramModel NgramModel::load(const std::string& path) {
  const auto file = InputFile::open<ConfigError>(path);
  FileBlocks blocks(file);
  const std::string_view first = blocks.next();
  if (first.starts_with(kGitLfsPointer)) throw ConfigError(path, "", kGitLfsProblem);
  std::shared_ptr<NgramTables> tables;
  if (is_kenlm_binary(first)) {
    auto bytes = std::make_unique_for_overwrite<std::byte[]>(file.size());
    file.read_at(0, bytes.get(), file.size());
    tables = read_kenlm_binary(std::move(bytes), file.size(), path);
  } else {
    tables = read_text(blocks, first, path);
  }
  file.check_unchanged();
  return NgramModel(std::move(tables));
}

NgramModel NgramModel::parse(std::string_view bytes, const std::string& path) {
  if (is_kenlm_binary(bytes)) {
    auto copy = std::make_unique_for_overwrite<std::byte[]>(bytes.size());
    std::memcpy(copy.get(), bytes.data(), bytes.size());
    return NgramModel(read_kenlm_binary(std::move(copy), bytes.size(), path));
  }
  MemoryBlocks none({});
  return NgramModel(read_text(none, bytes, path));
}

int NgramModel::order() const { return tables_->order; }
const std::string& NgramModel::kind() const { return tables_->kind; }
std::uint32_t NgramModel::word_id(std::string_view word) const { return tables_->word_id(word); }

NgramModel::State NgramModel::begin_sentence() const {
  State state;
  state.length = 1;
  state.words[0] = tables_->begin_sentence;
  state.backoffs[0] = tables_->unigram(tables_->begin_sentence).backoff;
  return state;
}

NgramModel::Score NgramModel::score(const State& state, std::uint32_t word) const {
  return tables_->score(state, word);
}

const std::vector<std::string>& NgramModel::arpa_unigrams() const { return tables_->arpa_unigrams; }

}  // namespace w2vbert
