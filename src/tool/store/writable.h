// What a run may write over: nothing but what the same command has written. Every file that the
// program makes is asked for here, or in lines_file.h, before any work.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "core/durable_file.h"

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
    bool exists = false;
    std::uint64_t device = 0, inode = 0;
    std::string what;
  };
  std::vector<File> files_;
};

// A file that a command writes at the path that an option gives.
class OutputFile {
 public:
  // `is_earlier_result`: whether a file that is there is what the same command has written; an
  // empty file is free to all. Throws StorageError for anything else that is there and for a
  // directory that cannot be written, UsageError for a file that the command reads.
  OutputFile(std::string path, std::string setting, const ProtectedFiles& sources,
             std::function<bool(const std::string& path)> is_earlier_result);

  const std::string& path() const noexcept { return path_; }
  // Looks again, right before the file is put in its place. Throws StorageError.
  IfPresent look() const;

 private:
  std::string path_;
  std::function<bool(const std::string& path)> is_earlier_result_;
};

}  // namespace w2vbert::tool
