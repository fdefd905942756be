// What a run may write over: nothing but what the same command has written. Every file that the
// program makes is asked for here, or in lines_file.h, before any work.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/durable_file.h"
#include "core/file.h"

namespace w2vbert::tool {

// The files that a run reads, under any spelling of their paths: through links, and by other names
// of the same file.
class ProtectedFiles {
 public:
  // `what`: whose file it is, as "the manifest". One that is not there keeps its place free.
  void add(const std::string& path, std::string_view what);
  // Throws UsageError(path) when `path` is one of them. `setting`: the option that chose the path.
  void check(const std::string& path, std::string_view setting) const;
  // Their paths below `directory`, relative to it.
  std::vector<std::string> below(const std::string& directory) const;

 private:
  struct File {
    std::string resolved;  // "" where its folder is not there
    std::optional<Inode> inode;
    std::string what;
  };
  std::vector<File> files_;
};

// A place that is to be written, looked at once, and compared with the many files that a run reads.
class OutputPlace {
 public:
  // Throws StorageError where the system cannot say what is at `path`; where it may not be looked
  // at, nothing is there.
  explicit OutputPlace(const std::string& path);
  // Whether `path` leads to the file that is there or, not being there itself, to its place. No for
  // what cannot be looked at and has another name: it fails when it is read.
  bool is(const std::string& path) const;

 private:
  std::optional<Inode> inode_;
  std::string resolved_;  // "" where its folder is not there
};

// A file that a command writes at the path that an option gives.
class OutputFile {
 public:
  // `is_earlier_result`: whether a file that is there is what the same command has written, or
  // StorageError where it cannot be read; an empty file is free to all. Throws StorageError for
  // anything else that is there and for a directory that cannot be written, UsageError for a file
  // that the command reads.
  OutputFile(std::string path, const std::string& setting, const ProtectedFiles& sources,
             std::function<bool(const std::string& path)> is_earlier_result);

  const std::string& path() const noexcept { return path_; }
  // Puts `file`, which is for path(), in its place: of nothing, or of an earlier result, for which
  // it looks again. Another file that has come there since stays: StorageError.
  void put(StagedFile file);

 private:
  void look();

  std::string path_;
  std::optional<FileIdentity> seen_;  // what is there and may be replaced
  std::function<bool(const std::string& path)> is_earlier_result_;
};

}  // namespace w2vbert::tool
