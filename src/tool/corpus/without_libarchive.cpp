// Stands for tar_reader.cpp in a build without libarchive.
#include "tool/corpus/archive.h"
#include "w2vbert/core/error.h"

namespace w2vbert::tool {

class TarReader::Stream {};

bool is_built_with_libarchive() { return false; }

std::string libarchive_version() { return ""; }

TarReader::TarReader(std::shared_ptr<const InputFile> file, std::function<void()>) {
  throw AudioError(file->path(), "", "is a tar, which a build without libarchive does not read",
                   "the files in it");
}
TarReader::~TarReader() = default;
std::optional<TarReader::Entry> TarReader::next() { return std::nullopt; }
void TarReader::skip() {}
std::string TarReader::read(std::uint64_t) { return {}; }
bool TarReader::is_packed() const { return false; }
bool TarReader::has_ended() const { return false; }
bool TarReader::has_end_mark() const { return false; }

}  // namespace w2vbert::tool
