// The files of JSON lines that a run keeps beside its outputs: journals, also of answers, failures,
// indexes of shards.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>

#include "core/descriptor.h"
#include "core/durable_file.h"
#include "core/file.h"
#include "core/stopwatch.h"

namespace w2vbert::tool {

enum class LinesKind { kJournal, kFailures, kIndex, kAnswers };

// Whether the begin of a file is what this program writes into such a file. The first line decides,
// also where one byte of it has changed; nothing, zeros (which a power cut leaves), and the begin
// of such a line are its own, too. Where zeros have taken the begin of the first line, the first
// one decides that has the shape.
bool is_own_lines(std::string_view begin, LinesKind kind);

// Opens with `flags` of open(2) and never through a link. Throws StorageError(path) for anything
// but a regular file with lines of that kind: it is never written, cut or removed. Without O_CREAT,
// a file that is not there gives a descriptor of -1.
Descriptor open_lines(const std::string& path, LinesKind kind, int flags);

// Whether `path` still names the file that was opened. Throws StorageError where that cannot be
// told.
bool is_in_place(const Descriptor& file, const std::string& path);

// Throws as open_lines() does, for what is there.
inline void check_lines(const std::string& path, LinesKind kind) {
  (void)open_lines(path, kind, /*O_RDONLY*/ 0);
}

// Calls line(text, its offset in the file) for each line that has an end, but for those of more
// than `max_line_bytes`. Throws as the file does.
void for_each_line(const InputFile& file, std::size_t max_line_bytes,
                   const std::function<void(std::string_view text, std::uint64_t offset)>& line);

// Adds lines to a file, each in one piece; other processes may add to it, too.
class AppendedLines {
 public:
  // Opens the file, or makes it, and cuts off a last line that was not finished. Throws as
  // open_lines(), and below StorageError.
  AppendedLines(std::string path, LinesKind kind);

  const std::string& path() const noexcept { return path_; }
  void append(std::string_view line);  // with its line break
  void synchronise();                  // what was added survives a power cut then

 private:
  std::string path_;
  Descriptor file_;
  bool has_name_ = false;  // that survives one
};

// The failures of the runs that go on with one file of them, or of the last one. Each line is
// written as it comes, so that a kill loses none of them; they are made durable together, for a
// synchronisation takes many times as long as a failure. From its first line on a run holds a
// shared lock of the file.
class FailureLines {
 public:
  explicit FailureLines(std::string path) : path_(std::move(path)) {}
  FailureLines(const FailureLines&) = delete;
  FailureLines& operator=(const FailureLines&) = delete;
  ~FailureLines();

  const std::string& path() const { return path_; }
  // Throws StorageError, here and below. Takes away those of runs that have ended: where another
  // run holds the file, all stay.
  void begin();
  void add(std::string_view line);
  void synchronise();

 private:
  void open();

  std::string path_;
  std::optional<Descriptor> file_;
  std::size_t unsynchronised_ = 0;
  Stopwatch since_synchronised_;
};

}  // namespace w2vbert::tool
