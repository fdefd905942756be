#include "tool/corpus/line_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <optional>
#include <vector>

#include "core/descriptor.h"
#include "w2vbert/core/error.h"

namespace w2vbert::tool {
namespace {

constexpr std::size_t kBlockBytes = 1 << 16;
constexpr std::string_view kByteOrderMark = "\xEF\xBB\xBF";

}  // namespace

void read_lines(const std::string& path, std::size_t max_line_bytes, std::string_view expected,
                const std::function<void(std::size_t number, std::string_view bytes)>& line) {
  std::optional<Descriptor> file;  // closed at the end; the standard input is not
  int descriptor = STDIN_FILENO;
  if (path != "-") {
    file.emplace(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
    descriptor = file->number();
    struct stat status {};
    if (descriptor < 0 || ::fstat(descriptor, &status) != 0) {
      throw UsageError(path, "", std::strerror(errno), expected);
    }
    if (!S_ISREG(status.st_mode)) {
      throw UsageError(path, "", S_ISDIR(status.st_mode) ? "is a directory" : "is no regular file",
                       expected);
    }
  }

  std::string unfinished;
  std::size_t number = 1;
  const auto finish_line = [&] {
    std::string_view bytes = unfinished;
    if (number == 1 && bytes.starts_with(kByteOrderMark))
      bytes.remove_prefix(kByteOrderMark.size());
    if (bytes.ends_with('\r')) bytes.remove_suffix(1);
    line(number, bytes);
    ++number;
    unfinished.clear();
  };
  std::vector<char> buffer(kBlockBytes);
  for (;;) {
    const ssize_t count = ::read(descriptor, buffer.data(), buffer.size());
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) throw UsageError(path, "", std::strerror(errno), expected);
    if (count == 0) break;
    std::string_view block(buffer.data(), static_cast<std::size_t>(count));
    while (!block.empty()) {
      const std::size_t end = block.find('\n');
      unfinished += block.substr(0, end);
      if (unfinished.size() > max_line_bytes) {
        throw UsageError(path, "line " + std::to_string(number),
                         "is longer than " + std::to_string(max_line_bytes) + " bytes", expected);
      }
      if (end == std::string_view::npos) break;
      finish_line();
      block.remove_prefix(end + 1);
    }
  }
  if (!unfinished.empty()) finish_line();
}

}  // namespace w2vbert::tool
