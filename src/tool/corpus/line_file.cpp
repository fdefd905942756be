#include "tool/corpus/line_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "core/descriptor.h"
#include "core/gzip.h"
#include "core/open_file.h"
#include "w2vbert/core/error.h"

namespace w2vbert::tool {
namespace {

constexpr std::size_t kBlockBytes = 1 << 16;
constexpr std::string_view kByteOrderMark = "\xEF\xBB\xBF";

bool is_control(char c) {
  return static_cast<unsigned char>(c) < 0x20 && c != '\t' && c != '\r' && c != '\x1b';
}

// UTF-16 without its mark: Latin letters have a NUL each, all on one side.
bool looks_like_utf16(std::string_view block) {
  std::size_t nuls[2] = {0, 0};
  for (std::size_t i = 0; i < block.size(); ++i) nuls[i % 2] += block[i] == '\0' ? 1 : 0;
  const auto [few, many] = std::minmax(nuls[0], nuls[1]);
  return block.size() >= 4 && few == 0 && 4 * many > block.size();
}

// What the first block of a file shows it to be, if that is no text.
const char* binary_kind(std::string_view block) {
  if (block.starts_with("\xFF\xFE") || block.starts_with("\xFE\xFF") || looks_like_utf16(block)) {
    return "is UTF-16, not UTF-8";
  }
  std::size_t lines = 0;
  std::size_t binary_lines = 0;
  while (!block.empty()) {
    const std::size_t end = std::min(block.find('\n'), block.size());
    const std::string_view line = block.substr(0, end);
    block.remove_prefix(std::min(end + 1, block.size()));
    if (line.empty()) continue;
    ++lines;
    if (std::any_of(line.begin(), line.end(), is_control)) ++binary_lines;
  }
  // An odd row among few others costs that row.
  return binary_lines > 0 && 2 * binary_lines > lines ? "is no text file" : nullptr;
}

// A file's bytes, in blocks.
class RawFile {
 public:
  RawFile(const std::string& path, std::string_view expected) : path_(path), expected_(expected) {
    if (path == "-") return;  // which stays open
    file_.emplace(open_file(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK));
    descriptor_ = file_->number();
    struct stat status {};
    if (descriptor_ < 0 || ::fstat(descriptor_, &status) != 0) fail(std::strerror(errno));
    if (!S_ISREG(status.st_mode)) {
      fail(S_ISDIR(status.st_mode) ? "is a directory" : "is no regular file");
    }
  }

  [[noreturn]] void fail(std::string_view problem) const {
    throw UsageError(path_, "", problem, expected_);
  }

  // Valid until the next call; empty at the end.
  std::string_view next() {
    std::size_t filled = 0;
    while (filled < buffer_.size()) {
      const ssize_t count = ::read(descriptor_, buffer_.data() + filled, buffer_.size() - filled);
      if (count < 0 && errno == EINTR) continue;
      if (count < 0) fail(std::strerror(errno));
      if (count == 0) break;
      filled += static_cast<std::size_t>(count);
    }
    return {buffer_.data(), filled};
  }

 private:
  const std::string& path_;
  std::string_view expected_;
  std::optional<Descriptor> file_;
  int descriptor_ = STDIN_FILENO;
  std::vector<char> buffer_ = std::vector<char>(kBlockBytes);
};

}  // namespace

void read_blocks(const std::string& path, std::string_view expected,
                 const std::function<void(std::string_view bytes)>& block) {
  RawFile file(path, expected);
  bool is_first = true;
  const auto take = [&](std::string_view bytes) {
    if (is_first) {
      if (const char* kind = binary_kind(bytes)) throw UsageError(path, "", kind, expected);
      if (bytes.starts_with(kByteOrderMark)) bytes.remove_prefix(kByteOrderMark.size());
    }
    is_first = false;
    block(bytes);
  };
  std::string_view bytes = file.next();
  if (bytes.starts_with(kGzipMark)) {
    GzipReader reader(bytes, [&] { return file.next(); });
    while (!(bytes = reader.next()).empty()) take(bytes);
    if (reader.problem()) file.fail(reader.problem());
    return;
  }
  for (; !bytes.empty(); bytes = file.next()) take(bytes);
}

LineSplitter::LineSplitter(std::size_t max_line_bytes, std::function<void(const Line&)> line)
    : max_line_bytes_(max_line_bytes), line_(std::move(line)) {}

void LineSplitter::end_line() {
  std::string_view bytes = unfinished_;
  if (!is_cut_ && bytes.ends_with('\r')) bytes.remove_suffix(1);
  line_({number_, bytes, is_cut_});
  ++number_;
  unfinished_.clear();
  is_cut_ = false;
}

void LineSplitter::add(std::string_view block) {
  while (!block.empty()) {
    const std::size_t end = std::min(block.find('\n'), block.size());
    const std::size_t room = max_line_bytes_ - unfinished_.size();
    unfinished_ += block.substr(0, std::min(end, room));
    is_cut_ = is_cut_ || end > room;
    if (end == block.size()) return;
    end_line();
    block.remove_prefix(end + 1);
  }
}

void LineSplitter::finish() {
  if (!unfinished_.empty()) end_line();
}

void read_lines(const std::string& path, std::string_view expected, std::size_t max_bytes,
                const std::function<void(std::string_view line)>& line) {
  LineSplitter splitter(max_bytes, [&](const Line& one) { line(one.bytes); });
  std::size_t size = 0;
  read_blocks(path, expected, [&](std::string_view bytes) {
    size += bytes.size();
    if (size > max_bytes) {
      throw UsageError(path, "", "has more than " + std::to_string(max_bytes) + " bytes", expected);
    }
    splitter.add(bytes);
  });
  splitter.finish();
}

}  // namespace w2vbert::tool
