// Text files in blocks and line by line.
#pragma once

#include <cstddef>
#include <functional>
#include <string>
#include <string_view>

namespace w2vbert::tool {

// Calls block(bytes) for each 64 KiB of a regular file, or of the standard input for "-"; of a gzip
// file, which its first bytes tell, of what is compressed in it. A byte-order mark at the beginning
// is left out. `expected`: what the file should have been, for messages. Throws UsageError:
// missing, no regular file, unreadable, damaged gzip data, no text: UTF-16, or control bytes in
// most of the first block's lines, as in audio or compressed files.
void read_blocks(const std::string& path, std::string_view expected,
                 const std::function<void(std::string_view bytes)>& block);

struct Line {
  std::size_t number = 0;  // from 1
  std::string_view bytes;  // without the line break, and a carriage return before it
  bool is_cut = false;     // the line is longer: these are its first bytes
};

// Blocks -> lines. A missing last line break is accepted. Memory does not grow with the lines.
class LineSplitter {
 public:
  LineSplitter(std::size_t max_line_bytes, std::function<void(const Line&)> line);
  void add(std::string_view block);
  void finish();

 private:
  void end_line();

  std::size_t max_line_bytes_;
  std::function<void(const Line&)> line_;
  std::string unfinished_;
  bool is_cut_ = false;
  std::size_t number_ = 1;
};

// Calls line(bytes) for each line of a file of at most `max_bytes`, unpacked, as read_blocks()
// gives it. Throws as it does, and for more.
void read_lines(const std::string& path, std::string_view expected, std::size_t max_bytes,
                const std::function<void(std::string_view line)>& line);

}  // namespace w2vbert::tool
