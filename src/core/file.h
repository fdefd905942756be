// Reading files that may be anything: a pipe, a device, something that changes under the reader.
// Torch-free.
#pragma once

#include <sys/stat.h>
#include <sys/types.h>

#include <compare>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "core/descriptor.h"
#include "w2vbert/core/error.h"

namespace w2vbert {

// Which file it is, under whatever name and with whatever content.
struct Inode {
  std::uint64_t device = 0;
  std::uint64_t number = 0;
  friend auto operator<=>(const Inode&, const Inode&) = default;
};
Inode inode_of(const struct stat& status);

// What tells whether a file is still the one that was looked at.
struct FileIdentity {
  std::uint64_t device = 0;
  std::uint64_t inode = 0;
  std::uint64_t bytes = 0;
  std::int64_t modified_ns = 0;
  friend bool operator==(const FileIdentity&, const FileIdentity&) = default;
};
FileIdentity identity_of(const struct stat& status);
// Tells what is at `path`, also a link; nothing where nothing is. Throws StorageError.
std::optional<FileIdentity> identity_at(const std::string& path);

// A regular file opened for reading with pread, or a file that lies in one (a member of a tar) and
// is read as if it were one of its own. Move-only; several threads may read at once.
class InputFile {
 public:
  // Opens without blocking and refuses everything but a regular file. Failures, here and later, are
  // thrown as FileError (a class of core/error.h) with the path. Where the system could not open or
  // read it, or another process changed it meanwhile, nothing is known of what the file holds: that
  // is an UnreadableError.
  template <typename FileError, typename UnreadableError = FileError>
  static InputFile open(const std::string& path) {
    return InputFile(
        path,
        [](const std::string& at, std::string_view problem) { throw FileError(at, "", problem); },
        [](const std::string& at, std::string_view problem) {
          throw UnreadableError(at, "", problem);
        });
  }
  // The `bytes` bytes of `container` from `begin` on, as a file that errors call `path`. Where it
  // has fewer, that is the container's FileError.
  static InputFile member(std::shared_ptr<const InputFile> container, std::string path,
                          std::uint64_t begin, std::uint64_t bytes);
  // The same of a file whose bytes do not lie in `container` as they are: a compressed one.
  static InputFile member(std::shared_ptr<const InputFile> container, std::string path,
                          std::string content);
  // Bytes that lie in no file. `path` stands for one in errors.
  template <typename FileError>
  static InputFile in_memory(std::string path, std::string content) {
    return InputFile(
        std::move(path),
        [](const std::string& at, std::string_view problem) { throw FileError(at, "", problem); },
        std::move(content));
  }
  const std::string& path() const { return path_; }
  // The path of the file on the disk, a member's container; "" for bytes that lie in no file.
  const std::string& path_on_disk() const;
  std::uint64_t size() const { return size_; }  // bytes, as of opening
  // Those of the file on the disk; -1 and nothing for bytes that lie in no file.
  int descriptor() const;
  FileIdentity identity() const { return identity_; }  // as of opening

  // Fills `to` with `bytes` bytes from `offset`; a file that ends before has shrunk, an error.
  void read_at(std::uint64_t offset, void* to, std::uint64_t bytes) const;
  // As pread(2): how many bytes were read, which may be fewer; -1 with errno.
  ssize_t read_some(std::uint64_t offset, void* to, std::uint64_t bytes) const noexcept;

  // An error when size, modification time or inode differ from those at opening.
  void check_unchanged() const;
  // Whether the path still leads to the file that was opened, as it was then.
  bool is_in_place() const;

 private:
  using Fail = void (*)(const std::string& path, std::string_view problem);
  InputFile(const std::string& path, Fail fail, Fail fail_unreadable);
  InputFile(std::shared_ptr<const InputFile> container, std::string path);
  InputFile(std::string path, Fail fail, std::string content);
  [[noreturn]] void fail(std::string_view problem) const;
  [[noreturn]] void fail_unreadable(std::string_view problem) const;
  void reopen() const;  // the same file under the same descriptor

  std::string path_;
  Fail fail_;
  Fail fail_unreadable_;
  Descriptor descriptor_{-1};
  FileIdentity identity_;
  std::uint64_t size_ = 0;
  std::shared_ptr<const InputFile> container_;  // of a member
  std::uint64_t begin_ = 0;                     // in it
  std::optional<std::string> content_;          // what is in memory
};

// The whole of `file`, which has at most `max_bytes`.
std::string read_whole(const InputFile& file, std::uint64_t max_bytes);

// The whole of a file of at most `max_bytes`. Throws FileError or UnreadableError with the path.
template <typename FileError, typename UnreadableError = FileError>
std::string read_small_file(const std::string& path, std::uint64_t max_bytes) {
  const auto file = InputFile::open<FileError, UnreadableError>(path);
  if (file.size() > max_bytes) {
    throw FileError(path, "", "has " + std::to_string(file.size()) + " bytes",
                    "at most " + std::to_string(max_bytes));
  }
  return read_whole(file, max_bytes);
}

// Whether errno says that there is no such thing, rather than that the system could not look.
bool means_absent(int error);

enum class FileKind { kAbsent, kDirectory, kOther };
using FailToExamine = void (*)(const std::string& path, std::string_view problem);
FileKind examine(const std::string& path, FailToExamine fail);

// Whether something is there that links lead to. Where the system cannot say, an error of the disk
// or a folder that may not be searched, that is a FileError: it is not as if nothing were there.
template <typename FileError = StorageError>
bool exists(const std::string& path) {
  return examine(path, [](const std::string& at, std::string_view problem) {
           throw FileError(at, "", problem);
         }) != FileKind::kAbsent;
}
template <typename FileError = StorageError>
bool is_directory(const std::string& path) {
  return examine(path, [](const std::string& at, std::string_view problem) {
           throw FileError(at, "", problem);
         }) == FileKind::kDirectory;
}
// Paths by their text alone.

// `directory` and `name` joined by one slash.
std::string join_path(const std::string& directory, std::string_view name);
// What the file is in: "a/b" -> "a", "/a" -> "/", "a" -> ".".
std::string parent_path(const std::string& path);
// What stands before the last component, with its slash: "a/b" -> "a/", "a" -> "".
std::string_view directory_prefix(std::string_view path);
// The last component: "a/b" -> "b"; "" for what ends in a slash.
std::string_view file_name(std::string_view path);
// "a//" -> "a"; "/" stays.
std::string without_trailing_slashes(std::string path);

}  // namespace w2vbert
