#include "w2vbert/pipeline/manifest.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <string_view>
#include <vector>

#include "w2vbert/core/error.h"

namespace w2vbert {
namespace {

constexpr std::string_view kExpected = "a list with one audio path a line";
constexpr std::size_t kBlockBytes = 1 << 16;
constexpr std::string_view kByteOrderMark = "\xEF\xBB\xBF";

class Descriptor {
 public:
  explicit Descriptor(int number) : number_(number) {}
  ~Descriptor() {
    if (number_ > STDERR_FILENO) ::close(number_);
  }
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  int number() const noexcept { return number_; }

 private:
  int number_;
};

int open_manifest(const std::string& path) {
  if (path == "-") return STDIN_FILENO;
  const int number = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (number < 0) throw UsageError(path, "", std::strerror(errno), kExpected);
  return number;
}

// Cuts blocks into lines and keeps what is left of the last one.
class LineReader {
 public:
  LineReader(const std::string& path, std::string folder, InputList& inputs)
      : path_(path), folder_(std::move(folder)), inputs_(inputs) {}

  void add_block(std::string_view block) {
    while (!block.empty()) {
      const std::size_t end = block.find('\n');
      line_ += block.substr(0, end);
      if (line_.size() > kMaxManifestLineBytes) {
        throw UsageError(path_, place(), "is longer than " + std::to_string(kMaxManifestLineBytes) +
                         " bytes", kExpected);
      }
      if (end == std::string_view::npos) return;
      add_line();
      block.remove_prefix(end + 1);
    }
  }

  void finish() {
    if (!line_.empty()) add_line();
    if (rows_ == 0) throw UsageError(path_, "", "is empty", kExpected);
  }

 private:
  std::string place() const { return "line " + std::to_string(number_ + 1); }

  void add_line() {
    std::string_view row = line_;
    if (number_ == 0 && row.starts_with(kByteOrderMark)) row.remove_prefix(kByteOrderMark.size());
    if (row.ends_with('\r')) row.remove_suffix(1);
    if (row.find('\0') != std::string_view::npos) {
      throw UsageError(path_, place(), "holds a NUL byte", kExpected);
    }
    if (row.find_first_not_of(" \t") != std::string_view::npos) {
      inputs_.add(row.starts_with('/') ? std::string(row) : folder_ + std::string(row));
      ++rows_;
    }
    ++number_;
    line_.clear();
  }

  const std::string& path_;
  std::string folder_;
  InputList& inputs_;
  std::string line_;
  std::size_t number_ = 0;  // lines finished
  std::size_t rows_ = 0;
};

}  // namespace

void read_manifest(const std::string& path, InputList& inputs) {
  const Descriptor descriptor(open_manifest(path));
  if (path != "-") {
    struct stat status {};
    if (::fstat(descriptor.number(), &status) != 0) {
      throw UsageError(path, "", std::strerror(errno), kExpected);
    }
    if (!S_ISREG(status.st_mode)) {
      throw UsageError(path, "", S_ISDIR(status.st_mode) ? "is a directory" : "is no regular file",
                       kExpected);
    }
  }
  LineReader lines(path, path == "-" ? "" : path.substr(0, path.rfind('/') + 1), inputs);
  std::vector<char> block(kBlockBytes);
  for (;;) {
    const ssize_t count = ::read(descriptor.number(), block.data(), block.size());
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) throw UsageError(path, "", std::strerror(errno), kExpected);
    if (count == 0) break;
    lines.add_block({block.data(), static_cast<std::size_t>(count)});
  }
  lines.finish();
}

}  // namespace w2vbert
