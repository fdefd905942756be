#include "tool/corpus/archive.h"

#include <algorithm>
#include <array>
#include <optional>
#include <utility>
#include <vector>

#include "audio/audio_names.h"
#include "core/git_lfs.h"
#include "core/memory.h"
#include "core/text.h"
#include "tool/corpus/wav_entry.h"
#include "w2vbert/core/error.h"

namespace w2vbert::tool {
namespace {

constexpr std::array<std::string_view, 6> kEndings = {".tar",     ".tar.gz",  ".tgz",
                                                      ".tar.zst", ".tar.bz2", ".tar.xz"};

// webdataset (tariterators.py, base_plus_ext): what stands before the first dot of the file's name.
std::string_view key_of(std::string_view name) {
  const std::size_t folders = directory_prefix(name).size();
  return name.substr(0, std::min(name.find('.', folders), name.size()));
}

// Whether a name has a component that leads elsewhere, as "..", or is empty.
bool leads_elsewhere(std::string_view name) {
  for (std::size_t begin = 0; begin <= name.size();) {
    const std::size_t end = std::min(name.find('/', begin), name.size());
    const std::string_view component = name.substr(begin, end - begin);
    if (component.empty() || component == "." || component == "..") return true;
    begin = end + 1;
  }
  return false;
}

bool is_git_lfs_pointer(const InputFile& file) {
  std::array<char, kGitLfsPointer.size()> there{};
  const auto got = file.read_some(0, there.data(), there.size());
  return got == static_cast<ssize_t>(there.size()) &&
         std::string_view(there.data(), there.size()) == kGitLfsPointer;
}

constexpr const char* kMemberExpected = "a file of its own in the tar";

}  // namespace

bool has_archive_name(std::string_view path) {
  const std::string_view name = file_name(path);
  const std::string ending =
      lower_case(name.substr(name.size() - std::min<std::size_t>(name.size(), 8)));
  return std::any_of(kEndings.begin(), kEndings.end(), [&](std::string_view one) {
    return ending.ends_with(one) && name.size() > one.size();
  });
}

std::uint64_t max_packed_bytes() {
  // Each reading thread may hold one, and decodes it meanwhile.
  constexpr std::uint64_t kMax = std::uint64_t{4} << 30;
  return std::min<std::uint64_t>(static_cast<std::uint64_t>(usable_memory()) / 8, kMax);
}

struct ArchiveLister::Listing {
  std::vector<TarReader::Entry> entries;
  FileIdentity identity;
  bool is_packed = false;
  std::string cut_member;  // of a compressed tar; "" for none
  std::string problem;     // of the tar, behind those entries; "" for none
  bool has_end_mark = true;
};

ArchiveLister::Listing ArchiveLister::list_members(const std::string& path) {
  Listing listing;
  std::optional<TarReader> tar;
  bool is_whole = true;  // the last entry
  try {
    const auto file = std::make_shared<const InputFile>(InputFile::open<AudioError>(path));
    listing.identity = file->identity();
    if (is_git_lfs_pointer(*file)) {
      listing.problem = std::string(kGitLfsProblem) + ", expected a tar";
      return listing;
    }
    tar.emplace(file, [] {});
    while (auto entry = tar->next()) {
      listing.is_packed = tar->is_packed();
      listing.entries.push_back(std::move(*entry));
      is_whole = !listing.is_packed;
      if (listing.is_packed) tar->skip();
      is_whole = true;
    }
    file->check_unchanged();
    listing.has_end_mark = tar->has_end_mark();
    if (listing.entries.empty()) {
      listing.problem = "holds no files, expected a tar with audio files";
    }
  } catch (const AudioError& error) {
    const std::string prefix = quote_bytes(path) + ": ";
    listing.problem = error.what();
    if (listing.problem.starts_with(prefix)) listing.problem.erase(0, prefix.size());
    if (listing.entries.empty()) return listing;
    if (!is_whole) {
      listing.cut_member = std::move(listing.entries.back().name);
      listing.entries.pop_back();
    }
    if (listing.is_packed && !tar->has_ended()) {
      listing.entries.clear();
      listing.cut_member.clear();
      listing.problem += "; what comes before may be damaged, too, and is not read";
    } else {
      listing.problem +=
          "; behind " + std::to_string(listing.entries.size()) + " members that are there";
    }
  }
  return listing;
}

void ArchiveLister::add(const std::string& path) {
  if (!is_built_with_libarchive()) {
    throw UsageError(path, "", "is a tar, which a build without libarchive does not read",
                     "a build with it (install libarchive-dev and configure anew), or the files "
                     "that are in it");
  }
  const Listing listing = list_members(path);
  for (const TarReader::Entry& entry : listing.entries) add_member(path, entry, listing);
  if (!listing.cut_member.empty()) add_bad_member(path, listing.cut_member, "is cut with its tar");
  if (!listing.problem.empty()) {
    inputs_.add_bad_row({path, "", listing.problem, /*is_folder=*/true});
  } else if (!listing.has_end_mark) {
    inputs_.add_note(quote_bytes(path) +
                     ": has no end mark, and may have been cut behind its last member");
  }
}

void ArchiveLister::add_bad_member(const std::string& path, std::string_view name,
                                   const std::string& problem) {
  if (!has_audio_name(name)) return;
  inputs_.add_bad_row(
      {join_path(path, name), "", problem + ", expected " + kMemberExpected, /*is_folder=*/false});
}

void ArchiveLister::add_member(const std::string& path, const TarReader::Entry& entry,
                               const Listing& listing) {
  const bool is_packed = listing.is_packed;
  if (entry.is_folder) return;
  const std::string_view last = file_name(entry.name);
  // ".x.wav", "._x.wav" of a Mac; "__x__" (webdataset leaves these out as well).
  if (last.starts_with('.') || last.starts_with("__")) return passed_over_.add("hidden");
  if (!has_audio_name(last)) return passed_over_.add_file(std::string(last));
  if (!entry.problem.empty()) return add_bad_member(path, entry.name, entry.problem);
  if (leads_elsewhere(entry.name)) {
    return add_bad_member(path, entry.name, "has a name that leads out of the tar");
  }
  const std::uint64_t there =
      listing.identity.bytes - std::min(entry.begin, listing.identity.bytes);
  if (!is_packed && entry.bytes > there) {
    return add_bad_member(path, entry.name,
                          "is cut: " + std::to_string(there) + " of its " +
                              std::to_string(entry.bytes) + " bytes are there");
  }
  if (is_packed && entry.bytes > max_packed_bytes_) {
    return add_bad_member(path, entry.name,
                          "has " + std::to_string(entry.bytes) +
                              " bytes, more than are taken out of a compressed tar (" +
                              std::to_string(max_packed_bytes_) + ")");
  }
  const std::string whole = join_path(path, entry.name);
  const std::string_view key = key_of(entry.name);
  if (const auto bad = inputs_.problem_of(whole, key, std::nullopt)) {
    inputs_.add_bad_row({whole, "", bad->problem + ", expected " + bad->expected});
    return;
  }
  inputs_.add_named(key, whole);
  inputs_.set_member({path, is_packed ? Member::Kind::packed : Member::Kind::plain, entry.begin,
                      entry.bytes, listing.identity});
}

void ArchiveLister::finish() {
  const std::string text = passed_over_.text();
  if (!text.empty()) inputs_.add_note("members of tars passed over: " + text);
}

struct InputOpener::OpenTar {
  OpenTar(std::string of, const std::shared_ptr<const InputFile>& file,
          std::function<void()> of_the_call)
      : path(std::move(of)),
        identity(file->identity()),
        progress(std::move(of_the_call)),
        reader(file, [this] { progress(); }) {}

  std::string path;
  FileIdentity identity;
  std::function<void()> progress;  // of the call at hand
  TarReader reader;
  std::uint64_t at = 0;  // no entry before it comes any more
};

InputOpener::InputOpener() = default;
InputOpener::~InputOpener() = default;

InputFile InputOpener::open(const InputPlace& place, const std::function<void()>& progress) {
  if (!place.member) return InputFile::open<AudioError>(place.path);
  const Member& member = *place.member;
  auto container = std::make_shared<const InputFile>(InputFile::open<AudioError>(member.container));
  if (member.listed && *member.listed != container->identity()) {
    throw AudioError(place.path, "",
                     "is in a tar that another process has changed since its members were listed",
                     "a file that stays as it is");
  }
  switch (member.kind) {
    case Member::Kind::packed:
      return open_packed(place, std::move(container), progress);
    case Member::Kind::wav: {
      const std::uint64_t bytes = wav_entry_bytes(*container, member.begin, place.path);
      return InputFile::member(std::move(container), place.path, member.begin, bytes);
    }
    case Member::Kind::plain:
      break;
  }
  return InputFile::member(std::move(container), place.path, member.begin, member.bytes);
}

InputFile InputOpener::open_packed(const InputPlace& place,
                                   std::shared_ptr<const InputFile> container,
                                   const std::function<void()>& progress) {
  const Member& member = *place.member;
  // A tar that failed, or is behind the member, is begun again.
  const bool goes_on = tar_ && tar_->path == member.container &&
                       tar_->identity == container->identity() && tar_->at <= member.begin;
  auto tar = goes_on ? std::move(tar_) : nullptr;
  tar_.reset();
  if (tar) {
    tar->progress = progress;
  } else {
    tar = std::make_unique<OpenTar>(member.container, container, progress);
  }
  while (const auto entry = tar->reader.next()) {
    tar->at = entry->begin + 1;
    if (entry->begin < member.begin) continue;
    if (entry->begin > member.begin || entry->bytes != member.bytes) break;
    std::string content = tar->reader.read(member.bytes);
    if (content.size() != member.bytes) break;
    tar->progress = [] {};
    tar_ = std::move(tar);
    return InputFile::member(std::move(container), place.path, std::move(content));
  }
  throw AudioError(place.path, "", "is no longer in its tar", "a file that stays as it is");
}

}  // namespace w2vbert::tool
