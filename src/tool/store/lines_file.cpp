#include "tool/store/lines_file.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <initializer_list>
#include <vector>

#include "core/file.h"
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

FailureLines::~FailureLines() {
  // A run that ends with an error of its own has no use for one of these.
  if (file_ && unsynchronised_ > 0) (void)::fsync(file_->number());
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
