#include <algorithm>
#include <array>
#include <cerrno>
#include <clocale>
#include <cstdlib>
#include <exception>
#include <string_view>
#include <utility>
#include <vector>

#include "core/gzip.h"
#include "core/text.h"
#include "tool/corpus/archive.h"
#include "tool/corpus/libarchive.h"
#include "w2vbert/core/error.h"

namespace w2vbert::tool {
namespace {

constexpr std::size_t kTarBlockBytes = 512;
// A tar as it is has only its headers read, which stand between the members; a compressed one is
// read whole.
constexpr std::size_t kPlainBlockBytes = 16 << 10;
constexpr std::size_t kPackedBlockBytes = 256 << 10;
constexpr std::size_t kMemberBlockBytes = 1 << 20;

// libarchive turns names into the locale's encoding, and in UTF-8 into one of two normal forms.
// With this one it leaves their bytes.
class PlainLocale {
 public:
  PlainLocale() : before_(::uselocale(plain())) {}
  ~PlainLocale() { ::uselocale(before_); }
  PlainLocale(const PlainLocale&) = delete;
  PlainLocale& operator=(const PlainLocale&) = delete;

 private:
  static locale_t plain() {
    static const locale_t locale = ::newlocale(LC_ALL_MASK, "C", nullptr);
    return locale;
  }

  locale_t before_;
};

}  // namespace

const Libarchive& libarchive() {
  static const Libarchive functions;
  return functions;
}

bool is_built_with_libarchive() { return true; }

std::string libarchive_version() { return libarchive().archive_version_details(); }

class TarReader::Stream {
 public:
  Stream(std::shared_ptr<const InputFile> file, std::function<void()> progress)
      : file_(std::move(file)),
        progress_(std::move(progress)),
        block_(begins_with(257, "ustar") ? kPlainBlockBytes : kPackedBlockBytes),
        archive_(lib_.archive_read_new()) {
    if (!archive_) throw std::bad_alloc();
    // libarchive would not look at gzip's checksums.
    if (begins_with(0, kGzipMark)) {
      gunzip_ = std::make_unique<GzipReader>("", [this] { return next_block(); });
    }
    const PlainLocale locale;
    // Where libarchive was built without one it runs a program, and says so: not wanted.
    check(lib_.archive_read_support_format_tar(archive_.get()));
    for (const auto support :
         {lib_.archive_read_support_filter_zstd, lib_.archive_read_support_filter_bzip2,
          lib_.archive_read_support_filter_xz}) {
      check(support(archive_.get()));
    }
    check(lib_.archive_read_set_options(archive_.get(), "read_concatenated_archives"));
    lib_.archive_read_set_callback_data(archive_.get(), this);
    lib_.archive_read_set_read_callback(archive_.get(), &Stream::read_block);
    lib_.archive_read_set_skip_callback(archive_.get(), &Stream::skip_bytes);
    check(lib_.archive_read_open1(archive_.get()));
  }

  std::optional<Entry> next() {
    const PlainLocale locale;
    archive_entry* found = nullptr;
    const int status = lib_.archive_read_next_header(archive_.get(), &found);
    if (status == ARCHIVE_EOF && !interruption_) return std::nullopt;
    check(status);
    Entry entry;
    if (const char* name = lib_.archive_entry_pathname(found)) entry.name = name;
    while (entry.name.starts_with("./")) entry.name.erase(0, 2);
    entry.begin = position();
    const auto kind = lib_.archive_entry_filetype(found);
    const std::int64_t bytes = lib_.archive_entry_size(found);
    if (kind == AE_IFDIR) {
      entry.is_folder = true;
    } else if (lib_.archive_entry_hardlink(found) || kind == AE_IFLNK) {
      entry.problem = "is a link";
    } else if (kind != AE_IFREG) {
      entry.problem = "is no file";
    } else if (lib_.archive_entry_sparse_count(found) > 0) {
      entry.problem = "is a sparse file";
    } else if (!lib_.archive_entry_size_is_set(found) || bytes < 0) {
      entry.problem = "has no size";
    } else {
      entry.bytes = static_cast<std::uint64_t>(bytes);
    }
    end_ = entry.begin + (entry.bytes + kTarBlockBytes - 1) / kTarBlockBytes * kTarBlockBytes;
    return entry;
  }

  void skip() {
    const PlainLocale locale;
    check(lib_.archive_read_data_skip(archive_.get()));
  }

  std::string read(std::uint64_t max_bytes) {
    const PlainLocale locale;
    std::string bytes;
    // No more memory than there are bytes, whatever the header says.
    std::vector<char> block(kMemberBlockBytes);
    for (;;) {
      const auto got = lib_.archive_read_data(archive_.get(), block.data(), block.size());
      if (got < 0) check(static_cast<int>(got));
      if (got <= 0) return bytes;
      if (bytes.size() + static_cast<std::size_t>(got) > max_bytes) {
        fail("has a member of more than " + std::to_string(max_bytes) + " bytes");
      }
      bytes.append(block.data(), static_cast<std::size_t>(got));
    }
  }

  bool is_packed() const {
    return gunzip_ || lib_.archive_filter_code(archive_.get(), 0) != ARCHIVE_FILTER_NONE;
  }
  bool has_ended() const { return has_ended_; }
  bool has_end_mark() const { return position() > end_; }

 private:
  struct Free {
    void operator()(archive* one) const { libarchive().archive_read_free(one); }
  };

  // In what is in the tar, of which libarchive has used so much.
  std::uint64_t position() const {
    return static_cast<std::uint64_t>(
        std::max<std::int64_t>(lib_.archive_filter_bytes(archive_.get(), 0), 0));
  }

  bool begins_with(std::uint64_t at, std::string_view magic) const {
    std::array<char, 8> there{};
    const auto got = file_->read_some(at, there.data(), magic.size());
    return got == static_cast<ssize_t>(magic.size()) &&
           std::string_view(there.data(), magic.size()) == magic;
  }

  [[noreturn]] void fail(const std::string& problem) const {
    throw AudioError(file_->path(), "", problem, "a whole tar");
  }

  void check(int status) const {
    if (interruption_) std::rethrow_exception(interruption_);
    if (status == ARCHIVE_OK || status == ARCHIVE_WARN) return;
    const char* message = lib_.archive_error_string(archive_.get());
    fail(std::string("is damaged, or no tar: libarchive says ") +
         in_quotes(message ? message : "nothing"));
  }

  // libarchive is C: nothing throws through it.
  template <class Work>
  static auto guarded(void* self, const Work& work) noexcept
      -> decltype(work(*static_cast<Stream*>(self))) {
    auto& stream = *static_cast<Stream*>(self);
    if (!stream.interruption_) {
      try {
        const auto result = work(stream);
        stream.progress_();
        return result;
      } catch (...) {
        stream.interruption_ = std::current_exception();
      }
    }
    stream.lib_.archive_set_error(stream.archive_.get(), ECANCELED, "interrupted");
    return ARCHIVE_FATAL;
  }

  static la_ssize_t read_block(archive*, void* self, const void** bytes) {
    return guarded(self, [&](Stream& stream) -> la_ssize_t {
      const std::string_view block = stream.gunzip_ ? stream.gunzip_->next() : stream.next_block();
      if (block.empty() && stream.gunzip_ && stream.gunzip_->problem()) {
        stream.fail(stream.gunzip_->problem());
      }
      *bytes = block.data();
      return static_cast<la_ssize_t>(block.size());
    });
  }

  // The file's next bytes, valid until the next call; none at its end.
  std::string_view next_block() {
    ssize_t got = -1;
    do {
      got = file_->read_some(at_, block_.data(), block_.size());
    } while (got < 0 && errno == EINTR);
    if (got < 0) fail(std::string("cannot be read: ") + std::generic_category().message(errno));
    at_ += static_cast<std::uint64_t>(got);
    has_ended_ = got == 0;
    return {block_.data(), static_cast<std::size_t>(got)};
  }

  static la_int64_t skip_bytes(archive*, void* self, la_int64_t wanted) {
    return guarded(self, [&](Stream& stream) -> la_int64_t {
      if (stream.gunzip_) return 0;
      const std::uint64_t left = stream.file_->size() - std::min(stream.at_, stream.file_->size());
      const auto skipped =
          std::min(left, static_cast<std::uint64_t>(std::max<la_int64_t>(wanted, 0)));
      stream.at_ += skipped;
      return static_cast<la_int64_t>(skipped);
    });
  }

  const Libarchive& lib_ = libarchive();
  std::shared_ptr<const InputFile> file_;
  std::function<void()> progress_;
  std::vector<char> block_;  // of the file
  std::unique_ptr<GzipReader> gunzip_;
  std::uint64_t at_ = 0;   // in the file
  std::uint64_t end_ = 0;  // of the last entry, in what is in the tar
  bool has_ended_ = false;
  std::exception_ptr interruption_;
  std::unique_ptr<archive, Free> archive_;  // last: it ends with a callback perhaps
};

TarReader::TarReader(std::shared_ptr<const InputFile> file, std::function<void()> progress)
    : stream_(std::make_unique<Stream>(std::move(file), std::move(progress))) {}
TarReader::~TarReader() = default;

std::optional<TarReader::Entry> TarReader::next() { return stream_->next(); }
void TarReader::skip() { stream_->skip(); }
std::string TarReader::read(std::uint64_t max_bytes) { return stream_->read(max_bytes); }
bool TarReader::is_packed() const { return stream_->is_packed(); }
bool TarReader::has_ended() const { return stream_->has_ended(); }
bool TarReader::has_end_mark() const { return stream_->has_end_mark(); }

}  // namespace w2vbert::tool
