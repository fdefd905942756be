#include "tool/store/writable.h"

#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <span>
#include <string_view>

#include "core/descriptor.h"
#include "core/file.h"
#include "w2vbert/core/error.h"

namespace w2vbert::tool {
namespace {

constexpr std::string_view kExpected = "a directory that can be written";

}  // namespace

void try_writing(const std::string& directory) {
  int number = ::open(directory.c_str(), O_TMPFILE | O_WRONLY | O_CLOEXEC, 0600);
  if (number < 0) {  // the file system may lack unnamed files
    std::string name = directory + "/.w2vbert-probe-XXXXXX.tmp";
    number = ::mkostemps(name.data(), 4, O_CLOEXEC);
    if (number < 0) fail_storage(directory, "no file can be created in it", errno, kExpected);
    ::unlink(name.c_str());
  }
  Descriptor probe(number);
  const std::array<char, 4096> block{};
  write_all(probe.number(), std::as_bytes(std::span(block)), directory);
  if (::fsync(probe.number()) != 0) fail_storage(directory, "cannot be written", errno, kExpected);
  if (const int error = probe.close())
    fail_storage(directory, "cannot be written", error, kExpected);
}

void check_output_file(const std::string& output, const std::string& input) {
  struct stat status {};
  if (::stat(output.c_str(), &status) == 0 && !S_ISREG(status.st_mode)) {
    throw StorageError(output, "", "is no regular file", "the name of a file");
  }
  if (output.empty() || output.ends_with('/')) {
    throw StorageError(output, "", "is no file name", "the name of a file");
  }
  if (is_same_file(output, input)) {
    throw UsageError(output, "output", "is the input as well", "another file", "output");
  }
  try_writing(parent_path(output));
}

}  // namespace w2vbert::tool
