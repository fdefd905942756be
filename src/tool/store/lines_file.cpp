#include "tool/store/lines_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <initializer_list>
#include <vector>

#include "core/file.h"
#include "core/json.h"
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

// Whether a line that has no end is the begin of one of that shape.
bool is_torn(std::string_view line, const Shape& shape) {
  return std::any_of(shape.members.begin(), shape.members.end(), [&](const auto& members) {
    const std::string begin = "{\"" + std::string(members.front()) + "\":";
    return line.substr(0, begin.size()) == std::string_view(begin).substr(0, line.size());
  });
}

}  // namespace

bool is_own_lines(std::string_view begin, LinesKind kind) {
  const Shape shape = shape_of(kind);
  if (begin.starts_with('\0') && has_line(begin, shape)) return true;
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
  Descriptor file(::open(path.c_str(), flags | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC, 0666));
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

FailureLines::~FailureLines() {
  // A run that ends with an error of its own has no use for one of these.
  if (file_ && unsynchronised_ > 0) (void)::fsync(file_->number());
}

void FailureLines::begin() {
  const Descriptor file = open_lines(path_, LinesKind::kFailures, O_RDONLY);
  struct stat status {};
  if (file.number() < 0) return;
  if (::fstat(file.number(), &status) != 0) fail_storage(path_, "cannot be looked at", errno);
  // False: another process of this partition adds to it.
  (void)remove_what_was_seen(path_, identity_of(status));
}

void FailureLines::add(std::string_view line) {
  struct stat there {
  }, opened{};
  // Another process of this partition may have begun anew since.
  if (file_ && (::lstat(path_.c_str(), &there) != 0 || ::fstat(file_->number(), &opened) != 0 ||
                inode_of(there) != inode_of(opened))) {
    synchronise();
    file_.reset();
  }
  if (!file_) {
    file_.emplace(open_lines(path_, LinesKind::kFailures, O_RDWR | O_CREAT | O_APPEND));
    since_synchronised_ = Stopwatch();
  }
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
