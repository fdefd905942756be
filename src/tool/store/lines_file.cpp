#include "tool/store/lines_file.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <initializer_list>
#include <span>
#include <utility>
#include <vector>

#include "core/file.h"
#include "core/file_blocks.h"
#include "core/file_lock.h"
#include "core/json.h"
#include "core/open_file.h"
#include "tool/store/refuse_link.h"
#include "w2vbert/core/error.h"

namespace w2vbert::tool {
namespace {

constexpr std::size_t kHeadBytes = 1 << 16;
constexpr std::size_t kMaxUnsynchronised = 256;  // lines
constexpr double kMaxUnsynchronisedSeconds = 1;

struct Shape {
  const char* name;
  // A line has all members of one of these.
  std::vector<std::vector<std::string_view>> members;
};

Shape shape_of(LinesKind kind) {
  switch (kind) {
    case LinesKind::kJournal:
      return {"a journal of this program's",
              {{"inputs", "finished", "pid"}, {"name", "frames", "audio_seconds"}}};
    case LinesKind::kFailures:
      return {"a list of failures of this program's", {{"path", "stage", "kind", "message"}}};
    case LinesKind::kAnswers:
      return {"a journal of answers of this program's",
              {{"fingerprint", "digest", "input", "line"}}};
    default:
      return {"an index of this program's", {{"name", "shard", "frames"}}};
  }
}

bool has_shape(std::string_view line, const Shape& shape) {
  const JsonValue value = JsonValue::parse(line);
  return std::any_of(shape.members.begin(), shape.members.end(), [&](const auto& members) {
    return std::all_of(members.begin(), members.end(),
                       [&](std::string_view member) { return value.find(member) != nullptr; });
  });
}

// Whether one of the lines that have an end is of that shape.
bool has_line(std::string_view begin, const Shape& shape) {
  for (std::size_t end = begin.find('\n'); end != std::string_view::npos; end = begin.find('\n')) {
    try {
      if (has_shape(begin.substr(0, end), shape)) return true;
    } catch (const JsonError&) {  // torn, or another program's
    }
    begin.remove_prefix(end + 1);
  }
  return false;
}

std::string key_text(std::string_view member) { return '"' + std::string(member) + "\":"; }
std::string begin_of_line(std::string_view first_member) { return "{" + key_text(first_member); }

// Whether a line that has no end is the begin of one of that shape.
bool is_torn(std::string_view line, const Shape& shape) {
  return std::any_of(shape.members.begin(), shape.members.end(), [&](const auto& members) {
    const std::string begin = begin_of_line(members.front());
    return line.substr(0, begin.size()) == std::string_view(begin).substr(0, line.size());
  });
}

// In how many bytes the begin of `text` is another one than `expected`, which it is as long as.
std::size_t changed_bytes(std::string_view text, std::string_view expected) {
  if (text.size() < expected.size()) return expected.size();
  std::size_t changed = 0;
  for (std::size_t i = 0; i < expected.size(); ++i) changed += text[i] == expected[i] ? 0 : 1;
  return changed;
}

// Whether the first line of `begin` is of that shape but for one byte that has changed: in a key,
// in a value or into a line break. The keys follow each other as the program writes them.
bool is_damaged(std::string_view begin, const Shape& shape) {
  const std::size_t end = begin.find('\n');
  const std::string_view text =
      begin.substr(0, end == std::string_view::npos ? end : begin.find('\n', end + 1));
  return std::any_of(shape.members.begin(), shape.members.end(), [&](const auto& members) {
    std::size_t changed = changed_bytes(text, begin_of_line(members.front()));
    if (changed > 1) return false;
    std::size_t at = 1;
    return std::all_of(members.begin() + 1, members.end(), [&](std::string_view member) {
      const std::string key = key_text(member);
      std::size_t found = text.find(key, at);
      for (std::size_t i = at; found == std::string_view::npos && i < text.size(); ++i) {
        if (changed_bytes(text.substr(i), key) == 1) found = i;
      }
      if (found == std::string_view::npos) return false;
      changed += changed_bytes(text.substr(found), key);
      at = found + key.size();
      return changed <= 1;
    });
  });
}

constexpr std::uint64_t kReadBytes = 1 << 16;

// Where the last whole line ends.
off_t end_of_lines(int descriptor, off_t size, const std::string& path) {
  constexpr off_t kBlockBytes = 4096;
  std::array<char, kBlockBytes> block{};
  while (size > 0) {
    const off_t begin = std::max<off_t>(size - kBlockBytes, 0);
    const auto bytes = std::span(block).first(static_cast<std::size_t>(size - begin));
    if (read_at(descriptor, begin, bytes, path) < bytes.size()) {
      throw StorageError(path, "", "was cut short by another process while it was read",
                         "a journal to which lines are added only");
    }
    const std::size_t end = std::string_view(bytes.data(), bytes.size()).rfind('\n');
    if (end != std::string_view::npos) return begin + static_cast<off_t>(end) + 1;
    size = begin;
  }
  return 0;
}

// Other processes may add to the same file: one cuts or adds at a time, as far as the file
// system has locks.
class Locked {
 public:
  // Throws LockWaitEnded.
  Locked(const Descriptor& file, const std::string& path) : file_(file) {
    (void)lock_exclusively(file_.number(), path);
  }
  ~Locked() { ::flock(file_.number(), LOCK_UN); }
  Locked(const Locked&) = delete;
  Locked& operator=(const Locked&) = delete;

 private:
  const Descriptor& file_;
};

}  // namespace

bool is_own_lines(std::string_view begin, LinesKind kind) {
  const Shape shape = shape_of(kind);
  if (begin.starts_with('\0') && has_line(begin, shape)) return true;
  if (is_damaged(begin, shape)) return true;
  begin.remove_prefix(std::min(begin.size(), begin.find_first_not_of(std::string_view("\0\n", 2))));
  if (begin.empty()) return true;
  const std::size_t end = begin.find('\n');
  try {
    return has_shape(begin.substr(0, end), shape);
  } catch (const JsonError&) {
    return end == std::string_view::npos && is_torn(begin, shape);
  }
}

Descriptor open_lines(const std::string& path, LinesKind kind, int flags) {
  const std::string expected = std::string(shape_of(kind).name) + ", or nothing of that name";
  Descriptor file(open_file(path, flags | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC, 0666));
  if (file.number() < 0) {
    if (errno == ENOENT && (flags & O_CREAT) == 0) return file;
    if (errno == ELOOP) refuse_link(path, expected);
    fail_storage(path, (flags & O_ACCMODE) == O_RDONLY ? "cannot be read" : "cannot be written",
                 errno, expected);
  }
  struct stat status {};
  if (::fstat(file.number(), &status) != 0) fail_storage(path, "cannot be looked at", errno);
  if (!S_ISREG(status.st_mode)) throw StorageError(path, "", "is no regular file", expected);
  std::string head(kHeadBytes, '\0');
  head.resize(read_at(file.number(), 0, head, path));
  if (!is_own_lines(head, kind)) {
    throw StorageError(path, "", "is another program's file, which is left as it is", expected);
  }
  return file;
}

bool is_in_place(const Descriptor& file, const std::string& path) {
  struct stat there {
  }, opened{};
  if (::fstat(file.number(), &opened) != 0) fail_storage(path, "cannot be looked at", errno);
  if (::lstat(path.c_str(), &there) == 0) return inode_of(there) == inode_of(opened);
  if (errno != ENOENT) fail_storage(path, "cannot be looked at", errno);
  return false;
}

void for_each_line(const InputFile& file, std::size_t max_line_bytes,
                   const std::function<void(std::string_view, std::uint64_t)>& line) {
  std::string text;
  std::uint64_t begin = 0;
  std::uint64_t read = 0;
  for_each_block(file, 0, file.size(), kReadBytes, [&](std::span<const std::byte> block) {
    read += block.size();
    std::string_view rest = as_text(block);
    for (std::size_t end = rest.find('\n'); end != std::string_view::npos; end = rest.find('\n')) {
      text += rest.substr(0, end);
      rest.remove_prefix(end + 1);
      if (text.size() <= max_line_bytes) line(text, begin);
      text.clear();
      begin = read - rest.size();
    }
    if (text.size() <= max_line_bytes) text += rest;
  });
}

AppendedLines::AppendedLines(std::string path, LinesKind kind)
    : path_(std::move(path)), file_(open_lines(path_, kind, O_RDWR | O_CREAT | O_APPEND)) {
  const Locked locked(file_, path_);
  struct stat status {};
  if (::fstat(file_.number(), &status) != 0) fail_storage(path_, "cannot be looked at", errno);
  const off_t end = end_of_lines(file_.number(), status.st_size, path_);
  if (end != status.st_size && ::ftruncate(file_.number(), end) != 0) {
    fail_storage(path_, "cannot be cut", errno);
  }
}

void AppendedLines::append(std::string_view line) {
  const Locked locked(file_, path_);
  // Lines of a file without a name are lost with this process, and with them what its outputs are.
  if (!is_in_place(file_, path_)) {
    throw StorageError(path_, "", "was removed or replaced during the run",
                       "the file that this run has begun");
  }
  struct stat before {};
  const bool known = ::fstat(file_.number(), &before) == 0;
  try {
    write_all(file_.number(), line, path_);
  } catch (...) {
    // Half a line would spoil the next one.
    if (known && ::ftruncate(file_.number(), before.st_size) != 0) (void)file_.close();
    throw;
  }
}

FailureLines::~FailureLines() {
  // A run that ends with an error of its own has no use for one of these.
  if (file_ && unsynchronised_ > 0) (void)::fsync(file_->number());
}

void AppendedLines::synchronise() {
  if (::fsync(file_.number()) != 0) fail_storage(path_, "cannot be synchronised", errno);
  if (!has_name_) synchronise_directory(parent_path(path_));
  has_name_ = true;
}

void FailureLines::begin() {
  const Descriptor file = open_lines(path_, LinesKind::kFailures, O_RDONLY);
  struct stat status {};
  if (file.number() < 0) return;
  if (::fstat(file.number(), &status) != 0) fail_storage(path_, "cannot be looked at", errno);
  // Where there are no locks, one that goes on begins a new file.
  if (::flock(file.number(), LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK) return;
  // False: another process was faster.
  (void)remove_what_was_seen(path_, identity_of(status));
}

void FailureLines::open() {
  do {
    file_.reset();
    file_.emplace(open_lines(path_, LinesKind::kFailures, O_RDWR | O_CREAT | O_APPEND));
    (void)lock_shared(file_->number(), path_);
  } while (!is_in_place(*file_, path_));  // a run that begins has removed it before the lock
  since_synchronised_ = Stopwatch();
}

void FailureLines::add(std::string_view line) {
  if (file_ && !is_in_place(*file_, path_)) {
    synchronise();
    file_.reset();
  }
  if (!file_) open();
  write_all(file_->number(), line, path_);
  ++unsynchronised_;
  if (unsynchronised_ >= kMaxUnsynchronised ||
      since_synchronised_.seconds() >= kMaxUnsynchronisedSeconds) {
    synchronise();
  }
}

void FailureLines::synchronise() {
  if (!file_ || unsynchronised_ == 0) return;
  unsynchronised_ = 0;
  if (::fsync(file_->number()) != 0) fail_storage(path_, "cannot be synchronised", errno);
  synchronise_directory(parent_path(path_));
  since_synchronised_ = Stopwatch();
}

}  // namespace w2vbert::tool
