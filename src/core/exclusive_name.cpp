#include "core/exclusive_name.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <string_view>

#include "core/descriptor.h"
#include "core/file.h"
#include "core/file_lock.h"
#include "core/open_file.h"

namespace w2vbert {
namespace {

// The reply to link() may be lost on a network file system although the server did it. That a file
// has two names does not say so: its owner may have linked it, too.
bool are_one_file(const std::string& from, const std::string& to) {
  struct stat of_from {
  }, of_to{};
  return ::lstat(from.c_str(), &of_from) == 0 && ::lstat(to.c_str(), &of_to) == 0 &&
         inode_of(of_from) == inode_of(of_to);
}

// Does without hard links and without a rename that refuses to replace. Returns 0, or errno.
int rename_under_lock(const std::string& from, const std::string& to) {
  const Descriptor folder(open_file(directory_of(to), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  // Where the directory cannot be locked, the look alone is left.
  (void)lock_exclusively(folder.number(), directory_of(to));
  struct stat status {};
  if (::lstat(to.c_str(), &status) == 0) return EEXIST;
  if (errno != ENOENT) return errno;
  return ::rename(from.c_str(), to.c_str()) == 0 ? 0 : errno;
}

}  // namespace

Named give_name(const std::string& from, const std::string& to) {
  if (::link(from.c_str(), to.c_str()) == 0) return {};
  const int error = errno;
  if (are_one_file(from, to)) return {};
  // No hard links here (FAT, some FUSE and network file systems).
  if (error != EPERM && error != EOPNOTSUPP && error != ENOSYS && error != EMLINK) return {error};
  if (::renameat2(AT_FDCWD, from.c_str(), AT_FDCWD, to.c_str(), RENAME_NOREPLACE) == 0) return {};
  if (errno != EINVAL && errno != ENOSYS && errno != EOPNOTSUPP) return {errno};
  return {rename_under_lock(from, to), Placement::kUnderLock};
}

std::string directory_of(const std::string& path) {
  const std::string_view directory = directory_prefix(path);
  return directory.empty() ? "./" : std::string(directory);
}

}  // namespace w2vbert
