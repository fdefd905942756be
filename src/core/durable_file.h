// Writing a file so that it is there whole or not at all, through a kill and a power cut.
#pragma once

#include <sys/stat.h>

#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/descriptor.h"
#include "core/exclusive_name.h"
#include "core/file.h"
#include "core/temporary_file.h"

namespace w2vbert {

enum class IfPresent {
  kCompare,  // an equal file counts as written, a different one is an error and stays untouched
  kReplace,  // the new file takes its place in one step (run records, not outputs)
};

enum class Committed {
  kWritten,   // this call put the file there
  kWasThere,  // an equal file stood there already: another worker was faster
};

// Writes `pieces`, one after another, to `path`: a temporary in the same directory, fsync, a link
// (or rename, with kReplace) to the final name, fsync of the directory. When this returns, the file
// survives a power cut. On failure the temporary is gone and `path` holds what it held before or
// the whole new file. Permissions follow the umask. Throws StorageError with the path and the
// reason.
Committed write_durably(const std::string& path, std::span<const std::span<const std::byte>> pieces,
                        IfPresent if_present = IfPresent::kCompare);
Committed write_durably(const std::string& path, std::string_view text,
                        IfPresent if_present = IfPresent::kCompare);

// The same for a file that is written bit by bit, larger than memory perhaps: nothing is at `path`
// before commit(), and without it the temporary goes with the object.
class UnfinishedFile {
 public:
  // Throws StorageError, here and below.
  explicit UnfinishedFile(const std::string& path);
  UnfinishedFile(const UnfinishedFile&) = delete;
  UnfinishedFile& operator=(const UnfinishedFile&) = delete;

  const std::string& path() const { return path_; }
  void append(std::span<const std::byte> bytes);
  // Over bytes that have been appended before.
  void overwrite(std::uint64_t offset, std::span<const std::byte> bytes);
  // Puts the file in its place as write_durably() does. To be called once, as the last. `last_look`
  // is called when the data are on the disk, right before the file gets its name: what it throws
  // keeps it from there.
  Committed commit(IfPresent if_present = IfPresent::kCompare,
                   const std::function<void()>& last_look = {});
  // The same in the place of the file that was looked at, or of nothing. Of anything else that is
  // there by now an equal file counts as written, a different one is an error and stays.
  Committed commit_in_place_of(const std::optional<FileIdentity>& seen,
                               const std::function<void()>& last_look = {});

 private:
  friend class StagedFile;
  void finish();  // synchronises and closes

  std::string path_;
  TemporaryFile temporary_;
};

// A file that lies whole and synchronised beside its place and is not put there yet: for several
// files of which none may be replaced before all of them are ready. Without put_in_place() the
// temporary goes with the object, and nothing has changed.
class StagedFile {
 public:
  // Writes `pieces`, one after another. Throws StorageError as write_durably does.
  StagedFile(const std::string& path, std::span<const std::span<const std::byte>> pieces);
  StagedFile(const std::string& path, std::string_view text);
  StagedFile(StagedFile&& other) noexcept = default;
  StagedFile& operator=(StagedFile&&) = delete;
  StagedFile(const StagedFile&) = delete;

  const std::string& path() const { return path_; }
  // In one step, over what is there. It survives a power cut after synchronise_directory().
  void put_in_place();
  // As UnfinishedFile::commit_in_place_of().
  Committed put_in_place_of(const std::optional<FileIdentity>& seen);

 private:
  static TemporaryFile write(const std::string& path,
                             std::span<const std::span<const std::byte>> pieces);

  std::string path_;
  TemporaryFile temporary_;
};

// Removes the file `path` if it is still the one that was looked at: moved aside first, looked at
// there, and put back where it is another one, which another process has put there meanwhile.
// Returns whether it was that one. A file that is gone already is no error. Throws StorageError.
bool remove_what_was_seen(const std::string& path, const FileIdentity& seen);

// Makes what was put in place in and removed from `directory` survive a power cut. Throws
// StorageError.
void synchronise_directory(const std::string& directory);

// Makes `path` and what is missing above it, durably; returns what was made, outermost first.
// `within`: a directory that `path` begins with and that has to be there. Throws
// StorageError(path), and nothing that was made is left then.
std::vector<std::string> make_directories(const std::string& path, std::string_view within = "");

// Creates, writes, synchronises, names and removes a file in `directory`: all that write_durably()
// will need there. Throws StorageError(directory).
Placement try_directory(const std::string& directory);

}  // namespace w2vbert
