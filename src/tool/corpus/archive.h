// Tars of audio files, as WebDataset has them, through libarchive. Torch-free.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "core/file.h"
#include "tool/corpus/input_list.h"
#include "tool/corpus/passed_over.h"

namespace w2vbert::tool {

// Whether a file of that name is taken for a tar: .tar, .tar.gz, .tgz, .tar.zst, .tar.bz2, .tar.xz.
bool has_archive_name(std::string_view path);

bool is_built_with_libarchive();

// libarchive's version, which is loaded at the first call; "" in a build without it. Throws
// AudioError where it cannot be loaded.
std::string libarchive_version();

// Reads one tar from its beginning to its end.
class TarReader {
 public:
  struct Entry {
    std::string name;         // the bytes that stand there, but for "./" before them
    std::uint64_t begin = 0;  // in the tar, of a compressed one in what is in it
    std::uint64_t bytes = 0;
    bool is_folder = false;
    std::string problem;  // why it holds no bytes of its own, as a link; "" for a file
  };

  // `progress` is called whenever something has been read; what it throws ends the work, and the
  // call that it happened in throws it. Throws AudioError: no tar, no libarchive.
  TarReader(std::shared_ptr<const InputFile> file, std::function<void()> progress);
  ~TarReader();
  TarReader(const TarReader&) = delete;
  TarReader& operator=(const TarReader&) = delete;

  // Nothing at the end. Throws AudioError where the tar is damaged, and for ever after.
  std::optional<Entry> next();
  // Passes over the bytes of the entry at hand. Throws AudioError where they are not there.
  void skip();
  // The bytes of the entry at hand, of which at most `max_bytes` may come. Throws AudioError.
  std::string read(std::uint64_t max_bytes);
  // Whether it is compressed; to be asked behind the first next().
  bool is_packed() const;
  // Behind an error: whether the file had ended, so that it was cut rather than damaged.
  bool has_ended() const;
  // Behind the end: whether a mark stood there.
  bool has_end_mark() const;

 private:
  class Stream;
  std::unique_ptr<Stream> stream_;
};

// How many bytes a member of a compressed tar may have, which is taken into memory to be read.
std::uint64_t max_packed_bytes();

// Puts the audio files of tars into a list. The key of WebDataset, the name up to the first dot
// behind the last slash, is the name of the output. Members with an audio file's name that cannot
// be read (links, sparse files, names with "..", those beyond the end of a cut tar) are bad rows,
// and so is a tar that cannot be read, or not to its end: the members before that are taken, but of
// a compressed tar that is damaged rather than cut none, as its checksums are of all of it.
class ArchiveLister {
 public:
  explicit ArchiveLister(InputList& inputs) : inputs_(inputs) {}
  // Throws UsageError in a build without libarchive.
  void add(const std::string& path);
  // Notes what was passed over. To be called once.
  void finish();

 private:
  struct Listing;
  static Listing list_members(const std::string& path);
  void add_member(const std::string& path, const TarReader::Entry& entry, const Listing& listing);
  void add_bad_member(const std::string& path, std::string_view name, const std::string& problem);

  InputList& inputs_;
  PassedOver passed_over_;
  const std::uint64_t max_packed_bytes_ = max_packed_bytes();
};

// Opens inputs, each by its place. Members of a compressed tar are found by reading it up to there:
// opened in their order they are read once.
class InputOpener {
 public:
  InputOpener();
  ~InputOpener();
  InputOpener(const InputOpener&) = delete;
  InputOpener& operator=(const InputOpener&) = delete;

  // Throws AudioError: as InputFile::open, a container that is not the one that was listed, a tar
  // that is damaged before the member, no WAV file of a known length at the offset, and what
  // `progress` throws, which is called as something is read.
  InputFile open(
      const InputPlace& place, const std::function<void()>& progress = [] {});

 private:
  struct OpenTar;
  InputFile open_packed(const InputPlace& place, std::shared_ptr<const InputFile> container,
                        const std::function<void()>& progress);

  std::unique_ptr<OpenTar> tar_;
};

}  // namespace w2vbert::tool
