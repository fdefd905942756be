#include "w2vbert/pipeline/place.h"

#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>

#include "descriptor.h"
#include "w2vbert/core/error.h"

namespace w2vbert {
namespace {

void synchronise_directory(const std::string& path) {
  const Descriptor directory(::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  // EINVAL: a file system that cannot; nothing more can be done there.
  if (directory.number() < 0 || (::fsync(directory.number()) != 0 && errno != EINVAL)) {
    fail_storage(path, "cannot be synchronised", errno);
  }
}

std::string parent_of(const std::string& path) {
  const std::size_t slash = path.rfind('/');
  if (slash == std::string::npos) return ".";
  return slash == 0 ? "/" : path.substr(0, slash);
}

}  // namespace

std::vector<std::string> make_directories(const std::string& path) {
  std::vector<std::string> made;
  for (std::size_t end = path.find('/', 1);; end = path.find('/', end + 1)) {
    const std::string part = path.substr(0, end);
    if (::mkdir(part.c_str(), 0777) == 0) {
      made.push_back(part);
      synchronise_directory(parent_of(part));
    } else if (errno != EEXIST) {
      const int error = errno;
      struct stat status {};
      // mkdir of a directory that is there may give EROFS or EACCES as well.
      if (::stat(part.c_str(), &status) != 0 || !S_ISDIR(status.st_mode)) {
        fail_storage(path, "cannot be made", error);
      }
    }
    if (end == std::string::npos) break;
  }
  struct stat status {};
  if (::stat(path.c_str(), &status) != 0) fail_storage(path, "cannot be made", errno);
  if (!S_ISDIR(status.st_mode)) {
    throw StorageError(path, "", "is no directory", "a directory that can be written");
  }
  return made;
}

void try_writing(const std::string& directory) {
  int number = ::open(directory.c_str(), O_TMPFILE | O_WRONLY | O_CLOEXEC, 0600);
  if (number < 0) {  // the file system may lack unnamed files
    std::string name = directory + "/.w2vbert-probe-XXXXXX.tmp";
    number = ::mkostemps(name.data(), 4, O_CLOEXEC);
    if (number < 0) fail_storage(directory, "no file can be created in it", errno);
    ::unlink(name.c_str());
  }
  Descriptor probe(number);
  const std::array<char, 4096> block{};
  write_all(probe.number(), {block.data(), block.size()}, directory);
  if (::fsync(probe.number()) != 0 || !probe.close()) fail_storage(directory, "cannot be written", errno);
}

bool is_same_file(const std::string& a, const std::string& b) {
  struct stat of_a {};
  struct stat of_b {};
  return ::stat(a.c_str(), &of_a) == 0 && ::stat(b.c_str(), &of_b) == 0 &&
         of_a.st_dev == of_b.st_dev && of_a.st_ino == of_b.st_ino;
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
    throw UsageError(output, "--output", "is the input as well", "another file");
  }
  try_writing(parent_of(output));
}

}  // namespace w2vbert
