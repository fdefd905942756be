// write_durably() with every system call that matters made to fail, once each, and with the process
// killed there. The linker sends this program's calls through the __wrap functions below.
#include "core/durable_file.h"

#include <dirent.h>
#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sched.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <cstdarg>
#include <cstdint>
#include <cstring>
#include <exception>
#include <filesystem>
#include <fstream>
#include <functional>
#include <sstream>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "support/temporary_directory.h"
#include "w2vbert/core/error.h"

namespace {

enum class Call { kAny, kOpen, kWrite, kFsync, kClose, kLink, kUnlink, kRename };

// The call to disturb, counted down from `in`; armed on one thread at a time.
struct Fault {
  Call call = Call::kAny;
  int in = 0;  // 0: disarmed
  int error = 0;
  bool kill = false;
  bool short_write = false;
  bool works_anyway = false;  // the call does its work and still reports the error: a lost reply
  int fired = 0;
};
thread_local Fault fault;
// As on a file system that has neither hard links nor renames that refuse to replace.
std::atomic<bool> plain_renames_only = false;
std::atomic<bool> no_exchange = false;  // as on a network file system
thread_local std::string trace;         // the calls in their order, a letter each
// What another process does right before one.
thread_local std::function<void()> before_rename;
thread_local std::function<void()> before_unlink;

bool fires(Call call) {
  trace += "?owsclur"[static_cast<int>(call)];
  if (fault.in == 0 || (fault.call != Call::kAny && fault.call != call)) return false;
  if (--fault.in > 0) return false;
  ++fault.fired;
  if (fault.kill) ::kill(::getpid(), SIGKILL);
  return true;
}

}  // namespace

// NOLINTBEGIN(bugprone-reserved-identifier): the names that the linker's --wrap gives
extern "C" {
int __real_open(const char*, int, ...);
ssize_t __real_write(int, const void*, size_t);
int __real_fsync(int);
int __real_close(int);
int __real_link(const char*, const char*);
int __real_unlink(const char*);
int __real_rename(const char*, const char*);
int __real_renameat2(int, const char*, int, const char*, unsigned int);

int __wrap_open(const char* path, int flags, ...) {
  va_list arguments;
  va_start(arguments, flags);
  const auto mode = (flags & O_CREAT) != 0 ? va_arg(arguments, mode_t) : mode_t{0};
  va_end(arguments);
  if (fires(Call::kOpen)) return errno = fault.error, -1;
  return __real_open(path, flags, mode);
}
ssize_t __wrap_write(int fd, const void* from, size_t bytes) {
  if (fires(Call::kWrite)) {
    if (fault.short_write) return __real_write(fd, from, (bytes + 1) / 2);
    return errno = fault.error, -1;
  }
  return __real_write(fd, from, bytes);
}
int __wrap_fsync(int fd) {
  return fires(Call::kFsync) ? (errno = fault.error, -1) : __real_fsync(fd);
}
int __wrap_close(int fd) {
  if (!fires(Call::kClose)) return __real_close(fd);
  __real_close(fd);  // Linux frees the descriptor also when it reports an error
  return errno = fault.error, -1;
}
int __wrap_link(const char* from, const char* to) {
  if (plain_renames_only) return errno = EPERM, -1;
  if (!fires(Call::kLink)) return __real_link(from, to);
  if (fault.works_anyway) __real_link(from, to);
  return errno = fault.error, -1;
}
int __wrap_unlink(const char* path) {
  if (before_unlink) std::exchange(before_unlink, nullptr)();
  return fires(Call::kUnlink) ? (errno = fault.error, -1) : __real_unlink(path);
}
int __wrap_renameat2(int from_folder, const char* from, int to_folder, const char* to,
                     unsigned int flags) {
  if (before_rename) std::exchange(before_rename, nullptr)();
  if (plain_renames_only || (no_exchange && (flags & RENAME_EXCHANGE) != 0)) {
    return errno = EINVAL, -1;
  }
  return fires(Call::kRename) ? (errno = fault.error, -1)
                              : __real_renameat2(from_folder, from, to_folder, to, flags);
}
int __wrap_rename(const char* from, const char* to) {
  if (before_rename) std::exchange(before_rename, nullptr)();
  return fires(Call::kRename) ? (errno = fault.error, -1) : __real_rename(from, to);
}
}
// NOLINTEND(bugprone-reserved-identifier)

namespace w2vbert::testing {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::UnorderedElementsAre;

std::string contents(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}

void put(const std::string& path, const std::string& text) { std::ofstream(path) << text; }

std::vector<std::string> names_in(const std::string& directory) {
  std::vector<std::string> names;
  for (const auto& entry : std::filesystem::directory_iterator(directory)) {
    names.push_back(entry.path().filename().string());
  }
  return names;
}

int open_descriptors() { return static_cast<int>(names_in("/proc/self/fd").size()); }

// Three pieces, one of them empty.
Committed write_sample(const std::string& path, IfPresent if_present = IfPresent::kCompare) {
  static const std::string first = "durable ", last(100'000, 'x');
  const std::array<std::span<const std::byte>, 3> pieces = {
      std::as_bytes(std::span(first)), {}, std::as_bytes(std::span(last))};
  return write_durably(path, pieces, if_present);
}
const std::string kSample = "durable " + std::string(100'000, 'x');

class DisarmFault {
 public:
  ~DisarmFault() { fault = {}; }
};

// Whether a signal ended the child process that did `work`.
bool is_killed_in(const std::function<void()>& work) {
  const pid_t child = ::fork();
  EXPECT_GE(child, 0);
  if (child == 0) {
    work();
    ::_exit(0);
  }
  int status = 0;
  EXPECT_EQ(::waitpid(child, &status, 0), child);
  return WIFSIGNALED(status);
}

TEST(WriteDurably, WritesThePiecesOneAfterAnother) {
  const TemporaryDirectory directory;
  EXPECT_EQ(write_sample(directory / "a.safetensors"), Committed::kWritten);
  EXPECT_EQ(contents(directory / "a.safetensors"), kSample);
  EXPECT_THAT(names_in(directory.path()), UnorderedElementsAre("a.safetensors"));
}

// No order but this survives a power cut: the data before the name, the name before the report.
TEST(WriteDurably, SynchronisesTheDataBeforeTheNameAndThenTheDirectory) {
  const TemporaryDirectory directory;
  trace.clear();
  write_sample(directory / "a");
  EXPECT_EQ(trace,
            "owwsc"
            "lu"
            "osc"
            "c");  // the lock
  trace.clear();
  write_sample(directory / "a", IfPresent::kReplace);
  EXPECT_EQ(trace,
            "owwsc"
            "r"
            "osc"
            "c");
}

TEST(WriteDurably, WritesAnEmptyFile) {
  const TemporaryDirectory directory;
  EXPECT_EQ(write_durably(directory / "empty", std::string_view{}), Committed::kWritten);
  EXPECT_EQ(contents(directory / "empty"), "");
  EXPECT_THAT(names_in(directory.path()), UnorderedElementsAre("empty"));
}

TEST(WriteDurably, TakesARelativePath) {
  const TemporaryDirectory directory;
  const auto before = std::filesystem::current_path();
  std::filesystem::current_path(directory.path());
  EXPECT_EQ(write_sample("plain"), Committed::kWritten);
  std::filesystem::current_path(before);
  EXPECT_EQ(contents(directory / "plain"), kSample);
}

TEST(WriteDurably, FollowsTheUmask) {
  const TemporaryDirectory directory;
  const mode_t before = ::umask(0027);
  write_sample(directory / "a");
  ::umask(before);
  struct stat status {};
  ASSERT_EQ(::stat((directory / "a").c_str(), &status), 0);
  EXPECT_EQ(status.st_mode & 0777, 0640u);
}

TEST(WriteDurably, TakesTheLongestNameAFileSystemAllows) {
  const TemporaryDirectory directory;
  std::string name(255, 'n');
  write_sample(directory / name);
  EXPECT_THAT(names_in(directory.path()), UnorderedElementsAre(name));
  // Two-byte characters: the temporary's name must not end in half a one.
  name.clear();
  for (int i = 0; i < 127; ++i) name += "\xC3\xA4";
  write_sample(directory / name);
  EXPECT_EQ(contents(directory / name), kSample);
}

TEST(WriteDurably, CountsAnEqualFileAsWrittenAndLeavesIt) {
  const TemporaryDirectory directory;
  write_sample(directory / "a");
  struct stat before {
  }, after{};
  ::stat((directory / "a").c_str(), &before);
  EXPECT_EQ(write_sample(directory / "a"), Committed::kWasThere);
  ::stat((directory / "a").c_str(), &after);
  EXPECT_EQ(before.st_ino, after.st_ino);
  EXPECT_EQ(before.st_mtim.tv_nsec, after.st_mtim.tv_nsec);
  EXPECT_THAT(names_in(directory.path()), UnorderedElementsAre("a"));
}

TEST(WriteDurably, NeverOverwritesADifferentFile) {
  const TemporaryDirectory directory;
  std::string almost = kSample;
  almost.back() = 'y';
  for (const std::string& other : {std::string("other"), almost, kSample + "x", std::string()}) {
    put(directory / "a", other);
    try {
      write_sample(directory / "a");
      FAIL() << "no error";
    } catch (const StorageError& error) {
      EXPECT_THAT(error.what(), HasSubstr(directory / "a"));
      EXPECT_THAT(error.what(), HasSubstr("holds something else"));
    }
    EXPECT_EQ(contents(directory / "a"), other);
    EXPECT_THAT(names_in(directory.path()), UnorderedElementsAre("a"));
  }
}

// An equal file that cannot be read for want of descriptors does not hold something else.
TEST(WriteDurably, SaysWhenTheFileThatIsThereCannotBeRead) {
  const DisarmFault disarm;
  const TemporaryDirectory directory;
  write_sample(directory / "a");
  for (const int error : {EMFILE, EIO}) {
    for (const int open : {2, 3}) {  // behind the temporary
      fault = {.call = Call::kOpen, .in = open, .error = error};
      try {
        write_sample(directory / "a");
        ADD_FAILURE() << "no error";
      } catch (const StorageError& storage) {
        EXPECT_THAT(storage.what(), ::testing::AllOf(HasSubstr("cannot be opened"),
                                                     HasSubstr(std::strerror(error))));
      }
      fault = {};
      EXPECT_THAT(names_in(directory.path()), ElementsAre("a"));
    }
  }
}

// Its lock would end with the closing of the data, before the file has its name.
TEST(WriteDurably, WritesNothingThatItCannotLock) {
  const TemporaryDirectory directory;
  write_sample(directory / "first");
  rlimit before{};
  ASSERT_EQ(::getrlimit(RLIMIT_NOFILE, &before), 0);
  const int next = ::dup(0);
  ::close(next);
  rlimit one_more = before;
  one_more.rlim_cur = static_cast<rlim_t>(next) + 1;
  ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &one_more), 0);
  std::exception_ptr failure;
  try {
    write_sample(directory / "a");
  } catch (...) {
    failure = std::current_exception();
  }
  // First: UndefinedBehaviorSanitizer needs a descriptor to look at an object of a new type, which
  // is also why there is a first file.
  ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &before), 0);
  std::string message;
  try {
    if (failure) std::rethrow_exception(failure);
  } catch (const StorageError& error) {
    message = error.what();
  }
  EXPECT_EQ(message, directory / "a" + ": cannot be created: Too many open files");
  EXPECT_THAT(names_in(directory.path()), ElementsAre("first"));
}

TEST(WriteDurably, IsNotHeldUpByAFifoOrDirectoryInItsPlace) {
  const TemporaryDirectory directory;
  ASSERT_EQ(::mkfifo((directory / "fifo").c_str(), 0600), 0);
  std::filesystem::create_directory(directory / "folder");
  put(directory / "target", "");
  std::filesystem::create_symlink("nowhere", directory / "dangling");
  for (const char* name : {"fifo", "folder", "dangling"}) {
    EXPECT_THROW(write_sample(directory / name), StorageError) << name;
  }
  EXPECT_EQ(names_in(directory.path()).size(), 4u);
}

TEST(WriteDurably, ReplacesWhenAskedTo) {
  const TemporaryDirectory directory;
  put(directory / "run.json", "old");
  EXPECT_EQ(write_durably(directory / "run.json", "new", IfPresent::kReplace), Committed::kWritten);
  EXPECT_EQ(contents(directory / "run.json"), "new");
  EXPECT_THAT(names_in(directory.path()), UnorderedElementsAre("run.json"));
}

TEST(WriteDurably, NamesThePathAndTheReason) {
  const TemporaryDirectory directory;
  put(directory / "file", "");
  const auto message = [](const std::string& path) -> std::string {
    try {
      write_sample(path);
    } catch (const StorageError& error) {
      return error.what();
    }
    return "no error";
  };
  EXPECT_EQ(message(directory / "file/a"),
            directory / "file/a" + ": cannot be created: Not a directory");
  EXPECT_EQ(message(directory / "none/a"),
            directory / "none/a" + ": cannot be created: No such file or directory");
  EXPECT_THAT(message("/proc/a"), HasSubstr("/proc/a: cannot be created: "));
  for (const std::string& path : {std::string(), directory.path() + "/", directory / "..",
                                  directory / std::string("a\0b", 3)}) {
    EXPECT_THAT(message(path), HasSubstr("is no file name")) << path;
  }
}

TEST(WriteDurably, LeavesNothingWhenTheFileGrowsTooLarge) {
  const TemporaryDirectory directory;
  rlimit before{}, small{};
  ASSERT_EQ(::getrlimit(RLIMIT_FSIZE, &before), 0);
  small = before;
  small.rlim_cur = 4096;
  const auto handler = ::signal(SIGXFSZ, SIG_IGN);
  ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &small), 0);
  std::string message;
  try {
    write_sample(directory / "a");
  } catch (const StorageError& error) {
    message = error.what();
  }
  ::setrlimit(RLIMIT_FSIZE, &before);
  ::signal(SIGXFSZ, handler);
  EXPECT_EQ(message, directory / "a" + ": cannot be written: File too large");
  EXPECT_THAT(names_in(directory.path()), IsEmpty());
}

TEST(WriteDurably, GoesOnAfterShortWritesAndInterruptions) {
  const DisarmFault disarm;
  for (const int call : {1, 2}) {
    for (const bool short_write : {true, false}) {
      const TemporaryDirectory directory;
      fault = {.call = Call::kWrite, .in = call, .error = EINTR, .short_write = short_write};
      EXPECT_EQ(write_sample(directory / "a"), Committed::kWritten);
      EXPECT_EQ(fault.fired, 1);
      fault = {};
      EXPECT_EQ(contents(directory / "a"), kSample);
    }
  }
}

TEST(WriteDurably, SeesThatALinkWorkedWhoseReplyWasLost) {
  const DisarmFault disarm;
  const TemporaryDirectory directory;
  for (const int error : {EEXIST, EIO, ETIMEDOUT}) {
    const std::string name = std::to_string(error);
    fault = {.call = Call::kLink, .in = 1, .error = error, .works_anyway = true};
    EXPECT_EQ(write_sample(directory / name), Committed::kWritten);
    EXPECT_EQ(fault.fired, 1);
    EXPECT_EQ(contents(directory / name), kSample);
  }
  EXPECT_EQ(names_in(directory.path()).size(), 3u);
}

TEST(WriteDurably, DoesWithoutHardLinks) {
  const DisarmFault disarm;
  const TemporaryDirectory directory;
  for (const int error : {EPERM, EOPNOTSUPP}) {
    fault = {.call = Call::kLink, .in = 1, .error = error};
    EXPECT_EQ(write_sample(directory / "a"),
              error == EPERM ? Committed::kWritten : Committed::kWasThere);
    EXPECT_EQ(contents(directory / "a"), kSample);
    EXPECT_THAT(names_in(directory.path()), UnorderedElementsAre("a"));
  }
  put(directory / "b", "other");
  fault = {.call = Call::kLink, .in = 1, .error = EPERM};
  EXPECT_THROW(write_sample(directory / "b"), StorageError);
  EXPECT_EQ(contents(directory / "b"), "other");
}

class PlainRenamesOnly {
 public:
  PlainRenamesOnly() { plain_renames_only = true; }
  ~PlainRenamesOnly() { plain_renames_only = false; }
};

TEST(WriteDurably, DoesWithPlainRenamesAndOverwritesNothing) {
  const PlainRenamesOnly only;
  const TemporaryDirectory directory;
  EXPECT_EQ(write_sample(directory / "a"), Committed::kWritten);
  EXPECT_EQ(write_sample(directory / "a"), Committed::kWasThere);
  EXPECT_EQ(contents(directory / "a"), kSample);
  put(directory / "b", "other");
  std::filesystem::create_symlink("nowhere", directory / "dangling");
  EXPECT_THROW(write_sample(directory / "b"), StorageError);
  EXPECT_THROW(write_sample(directory / "dangling"), StorageError);
  EXPECT_EQ(contents(directory / "b"), "other");
  EXPECT_THAT(names_in(directory.path()), UnorderedElementsAre("a", "b", "dangling"));
}

TEST(TryDirectory, TellsHowFilesGetTheirNamesAndLeavesNothing) {
  const TemporaryDirectory directory;
  EXPECT_EQ(try_directory(directory.path()), Placement::kExclusive);
  {
    const PlainRenamesOnly only;
    EXPECT_EQ(try_directory(directory.path()), Placement::kUnderLock);
  }
  EXPECT_THAT(names_in(directory.path()), IsEmpty());
  EXPECT_THROW(try_directory(directory / "none"), StorageError);
}

TEST(TryDirectory, FailsWithEveryCallThatFails) {
  const DisarmFault disarm;
  const TemporaryDirectory directory;
  for (const Call call :
       {Call::kOpen, Call::kWrite, Call::kFsync, Call::kClose, Call::kLink, Call::kUnlink}) {
    fault = {.call = call, .in = 1, .error = EDQUOT};
    try {
      try_directory(directory.path());
      ADD_FAILURE() << "no error";
    } catch (const StorageError& error) {
      EXPECT_EQ(error.path(), directory.path());
      EXPECT_THAT(error.what(), HasSubstr(std::generic_category().message(EDQUOT)));
    }
    EXPECT_EQ(fault.fired, 1);
    fault = {};
    remove_stale_temporaries(directory.path());
    EXPECT_THAT(names_in(directory.path()), IsEmpty());
  }
}

// For every call N and several errors: either the call is a harmless one and the file is there
// whole, or there is a StorageError, no temporary, and no partial file.
TEST(WriteDurably, SurvivesAFailureOfEveryCall) {
  const DisarmFault disarm;
  for (const auto mode : {IfPresent::kCompare, IfPresent::kReplace}) {
    for (const int error : {EIO, ENOSPC, EDQUOT, EACCES, EMFILE, EROFS}) {
      int calls = 0;
      for (bool fired = true; fired; ++calls) {
        const TemporaryDirectory directory;
        const int descriptors = open_descriptors();
        fault = {.in = calls + 1, .error = error};
        bool failed = false;
        try {
          write_sample(directory / "a", mode);
        } catch (const StorageError& storage) {
          failed = true;
          EXPECT_THAT(storage.what(), HasSubstr(directory / "a"));
          EXPECT_THAT(storage.what(), HasSubstr(std::generic_category().message(error)));
        }
        fired = fault.fired > 0;
        fault = {};
        for (const std::string& name : names_in(directory.path())) EXPECT_EQ(name, "a");
        const bool there = std::filesystem::exists(directory / "a");
        EXPECT_TRUE(there || failed);
        EXPECT_TRUE(!there || contents(directory / "a") == kSample);
        EXPECT_EQ(open_descriptors(), descriptors);
        // Only the close of the directory may fail without harm.
        EXPECT_TRUE(failed || !fired || calls >= 8) << "call " << calls + 1;
      }
      EXPECT_GE(calls, 8);  // open, 2 writes, fsync, close, link or rename, open, fsync, close
    }
  }
}

TEST(WriteDurably, LeavesWholeFilesOrNoneWhenKilledAtAnyCall) {
  for (int call = 1;; ++call) {
    const TemporaryDirectory directory;
    const pid_t child = ::fork();
    ASSERT_GE(child, 0);
    if (child == 0) {
      fault = {.in = call, .kill = true};
      write_sample(directory / "a");
      ::_exit(0);
    }
    int status = 0;
    ASSERT_EQ(::waitpid(child, &status, 0), child);
    const bool there = std::filesystem::exists(directory / "a");
    EXPECT_TRUE(!there || contents(directory / "a") == kSample);
    if (WIFEXITED(status)) {
      EXPECT_GE(call, 9);
      break;
    }
    // What the dead process left goes at the next start.
    const std::size_t left = names_in(directory.path()).size() - (there ? 1u : 0u);
    EXPECT_EQ(remove_stale_temporaries(directory.path()), left) << "killed at call " << call;
    EXPECT_EQ(write_sample(directory / "a"), there ? Committed::kWasThere : Committed::kWritten);
    EXPECT_THAT(names_in(directory.path()), UnorderedElementsAre("a"));
  }
}

void expect_one_of_many_racers_to_win() {
  const TemporaryDirectory directory;
  for (int round = 0; round < 20; ++round) {
    const std::string path = directory / std::to_string(round);
    std::atomic<int> written = 0, was_there = 0;
    std::vector<std::thread> racers;
    for (int i = 0; i < 8; ++i) {
      racers.emplace_back(
          [&] { (write_sample(path) == Committed::kWritten ? written : was_there)++; });
    }
    for (std::thread& racer : racers) racer.join();
    EXPECT_EQ(written, 1);
    EXPECT_EQ(was_there, 7);
    EXPECT_EQ(contents(path), kSample);
  }
  EXPECT_EQ(names_in(directory.path()).size(), 20u);
}

TEST(WriteDurably, LetsExactlyOneOfManyRacersWin) { expect_one_of_many_racers_to_win(); }

TEST(WriteDurably, LetsExactlyOneOfManyRacersWinWithPlainRenames) {
  const PlainRenamesOnly only;
  expect_one_of_many_racers_to_win();
}

// As stdout may be, made so by another program that has it.
TEST(TryWriteAll, WaitsForAPipeThatDoesNotWait) {
  int ends[2];
  ASSERT_EQ(::pipe2(ends, O_NONBLOCK), 0);
  const std::string text(1 << 20, 'x');
  std::size_t read = 0;
  std::thread reader([&] {
    ::fcntl(ends[0], F_SETFL, 0);
    ::usleep(20'000);
    std::array<char, 1000> block{};
    for (ssize_t count = 1; count > 0;
         read += static_cast<std::size_t>(std::max(count, ssize_t{0}))) {
      count = ::read(ends[0], block.data(), block.size());
    }
  });
  EXPECT_EQ(try_write_all(ends[1], text), 0);
  ::close(ends[1]);
  reader.join();
  EXPECT_EQ(read, text.size());
  // Without a reader it does not wait for ever.
  ASSERT_EQ(::pipe2(ends, O_NONBLOCK), 0);
  std::thread last([&] {
    ::usleep(20'000);
    ::close(ends[0]);
  });
  const auto handler = ::signal(SIGPIPE, SIG_IGN);
  EXPECT_EQ(try_write_all(ends[1], text), EPIPE);
  ::signal(SIGPIPE, handler);
  last.join();
  ::close(ends[1]);
}

TEST(UnfinishedFile, IsThereWholeOrNotAtAll) {
  const TemporaryDirectory directory;
  const std::string path = directory / "a";
  const auto bytes = [](std::string_view text) { return std::as_bytes(std::span(text)); };
  {
    UnfinishedFile file(path);
    file.append(bytes("12345"));
    EXPECT_FALSE(std::filesystem::exists(path));
  }
  EXPECT_TRUE(std::filesystem::is_empty(directory.path()));  // given up
  UnfinishedFile file(path);
  file.append(bytes("____"));
  file.append(bytes("5678"));
  file.overwrite(1, bytes("23"));
  EXPECT_EQ(file.commit(), Committed::kWritten);
  EXPECT_EQ(contents(path), "_23_5678");
  EXPECT_EQ(std::distance(std::filesystem::directory_iterator(directory.path()), {}), 1);

  UnfinishedFile equal(path), other(path), next(path);
  equal.append(bytes("_23_5678"));
  other.append(bytes("_23_567x"));
  next.append(bytes("next"));
  EXPECT_EQ(equal.commit(), Committed::kWasThere);
  EXPECT_THROW(other.commit(), StorageError);
  EXPECT_EQ(contents(path), "_23_5678");
  EXPECT_EQ(next.commit(IfPresent::kReplace), Committed::kWritten);
  EXPECT_EQ(contents(path), "next");
}

TEST(UnfinishedFile, IsLookedAtLastWhenItsDataAreOnTheDisk) {
  const TemporaryDirectory directory;
  const std::string path = directory / "a";
  put(path, "old");
  const auto refuse = [&] { throw StorageError(path, "", "no"); };
  for (const IfPresent if_present : {IfPresent::kReplace, IfPresent::kCompare}) {
    EXPECT_THROW(UnfinishedFile(path).commit(if_present, refuse), StorageError);
    EXPECT_EQ(contents(path), "old");
  }
  EXPECT_EQ(names_in(directory.path()).size(), 1u);
  std::string seen;
  trace.clear();
  UnfinishedFile(path).commit(IfPresent::kReplace, [&] { seen = trace; });
  EXPECT_THAT(seen, HasSubstr("s"));  // synchronised
  EXPECT_THAT(seen, ::testing::Not(HasSubstr("r")));
}

FileIdentity identity_at(const std::string& path) {
  const auto found = w2vbert::identity_at(path);
  EXPECT_TRUE(found) << path;
  return found.value_or(FileIdentity{});
}

TEST(RemoveWhatWasSeen, RemovesThatAndNothingElse) {
  const TemporaryDirectory directory;
  const std::string path = directory / "a";
  put(path, "seen");
  const FileIdentity seen = identity_at(path);
  EXPECT_TRUE(remove_what_was_seen(path, seen));
  EXPECT_THAT(names_in(directory.path()), IsEmpty());
  EXPECT_TRUE(remove_what_was_seen(path, seen));  // another process was faster

  put(path, "another");
  const FileIdentity other = identity_at(path);
  EXPECT_FALSE(remove_what_was_seen(path, seen));
  EXPECT_EQ(identity_at(path), other);
}

// Put in the place between the last look and the moving.
TEST(RemoveWhatWasSeen, PutsBackWhatItDidNotSee) {
  const DisarmFault disarm;
  const TemporaryDirectory directory;
  const std::string path = directory / "a";
  put(path, "damaged");
  const FileIdentity seen = identity_at(path);
  before_rename = [&] {
    std::filesystem::remove(path);
    put(path, "redone by another process");
  };
  EXPECT_FALSE(remove_what_was_seen(path, seen));
  EXPECT_EQ(contents(path), "redone by another process");
  EXPECT_THAT(names_in(directory.path()), ElementsAre("a"));

  // Also where there are no hard links.
  put(path, "damaged");
  const FileIdentity again = identity_at(path);
  before_rename = [&] {
    std::filesystem::remove(path);
    put(path, "redone");
  };
  fault = {.call = Call::kLink, .in = 1, .error = EPERM};
  EXPECT_FALSE(remove_what_was_seen(path, again));
  EXPECT_EQ(contents(path), "redone");
  EXPECT_THAT(names_in(directory.path()), ElementsAre("a"));
}

// The owner of a finished output may have given it a second name.
TEST(RemoveWhatWasSeen, DoesNotTakeASecondNameForItsOwn) {
  const TemporaryDirectory directory;
  const std::string path = directory / "a";
  put(path, "damaged");
  const FileIdentity seen = identity_at(path);
  before_rename = [&] {
    std::filesystem::remove(path);
    put(path, "redone");
    std::filesystem::create_hard_link(path, directory / "mine");
  };
  const DisarmFault disarm;
  fault = {.call = Call::kLink, .in = 1, .error = EIO};
  EXPECT_THROW(remove_what_was_seen(path, seen), StorageError);
  fault = {};
  EXPECT_EQ(contents(directory / "mine"), "redone");
  EXPECT_EQ(names_in(directory.path()).size(), 2U);  // the other one is aside
}

// Killed after it was moved aside: what was to be removed is removed by the next run, and what
// was not is back in its place.
TEST(RemoveWhatWasSeen, IsFinishedByTheNextRun) {
  for (const bool is_another : {false, true}) {
    const TemporaryDirectory directory;
    const std::string path = directory / "a";
    put(path, "damaged");
    const FileIdentity seen = identity_at(path);
    EXPECT_TRUE(is_killed_in([&] {
      before_rename = [&] {
        if (is_another) {
          std::filesystem::remove(path);
          put(path, "redone");
        }
        fault = {.call = is_another ? Call::kLink : Call::kUnlink, .in = 1, .kill = true};
      };
      (void)remove_what_was_seen(path, seen);
    }));
    EXPECT_THAT(names_in(directory.path()), ElementsAre(::testing::EndsWith(".aside")));
    EXPECT_EQ(remove_stale_temporaries(directory.path()), 1u);
    if (is_another) {
      EXPECT_EQ(contents(path), "redone");
    } else {
      EXPECT_THAT(names_in(directory.path()), IsEmpty());
    }
  }
}

// A name that had to be cut does not say where the file was: it is kept, not removed.
TEST(RemoveWhatWasSeen, KeepsAnothersFileOfALongName) {
  const TemporaryDirectory directory;
  const std::string path = directory / std::string(250, 'x');
  put(path, "damaged");
  const FileIdentity seen = identity_at(path);
  ASSERT_TRUE(is_killed_in([&] {
    before_rename = [&] {
      std::filesystem::remove(path);
      put(path, "another's");
      fault = {.call = Call::kLink, .in = 1, .kill = true};
    };
    (void)remove_what_was_seen(path, seen);
  }));
  EXPECT_EQ(remove_stale_temporaries(directory.path()), 0u);
  const auto names = names_in(directory.path());
  ASSERT_EQ(names.size(), 1U);
  EXPECT_EQ(contents(directory / names[0]), "another's");
}

// A third process that starts meanwhile.
TEST(RemoveWhatWasSeen, KeepsWhatIsAsideFromOtherProcesses) {
  const TemporaryDirectory directory;
  const std::string path = directory / "a";
  put(path, "damaged");
  const FileIdentity seen = identity_at(path);
  struct Third {
    std::string directory;
    std::size_t removed = 0;
  } third{directory.path()};
  before_unlink = [&] { third.removed = remove_stale_temporaries(third.directory); };
  EXPECT_TRUE(remove_what_was_seen(path, seen));
  EXPECT_EQ(third.removed, 0u);
  EXPECT_THAT(names_in(directory.path()), IsEmpty());
}

TEST(StagedFile, ChangesNothingUntilItIsPutInPlace) {
  const TemporaryDirectory directory;
  const std::string path = directory / "a";
  write_durably(path, "old");
  {
    const StagedFile dropped(path, "new");
    EXPECT_EQ(contents(path), "old");
    EXPECT_EQ(names_in(directory.path()).size(), 2U);
  }
  EXPECT_THAT(names_in(directory.path()), UnorderedElementsAre("a"));
  StagedFile staged(path, "new");
  StagedFile moved(std::move(staged));
  moved.put_in_place();
  EXPECT_EQ(contents(path), "new");
  EXPECT_EQ(moved.path(), path);
  EXPECT_THAT(names_in(directory.path()), UnorderedElementsAre("a"));
}

class NoExchange {
 public:
  NoExchange() { no_exchange = true; }
  ~NoExchange() { no_exchange = false; }
};

void expect_to_replace_what_was_seen_and_nothing_else() {
  const TemporaryDirectory directory;
  const std::string path = directory / "a";
  StagedFile(path, "first").put_in_place_of({});
  EXPECT_EQ(contents(path), "first");
  EXPECT_THROW(StagedFile(path, "second").put_in_place_of({}), StorageError);
  EXPECT_EQ(contents(path), "first");
  const FileIdentity first = identity_at(path);
  StagedFile(path, "third").put_in_place_of(first);
  EXPECT_EQ(contents(path), "third");
  EXPECT_THROW(StagedFile(path, "fourth").put_in_place_of(first), StorageError);
  EXPECT_EQ(contents(path), "third");
  EXPECT_THAT(names_in(directory.path()), ElementsAre("a"));
  // Another process's, right before the rename.
  const FileIdentity third = identity_at(path);
  before_rename = [&] {
    std::filesystem::remove(path);
    put(path, "mine");
  };
  EXPECT_THROW(StagedFile(path, "fifth").put_in_place_of(third), StorageError);
  EXPECT_EQ(contents(path), "mine");
  const FileIdentity mine = identity_at(path);
  before_rename = [&] { std::filesystem::remove(path); };
  StagedFile(path, "sixth").put_in_place_of(mine);
  EXPECT_EQ(contents(path), "sixth");
  EXPECT_THAT(names_in(directory.path()), ElementsAre("a"));
}

TEST(StagedFile, ReplacesWhatWasSeenAndNothingElse) {
  expect_to_replace_what_was_seen_and_nothing_else();
}

TEST(StagedFile, ReplacesWhatWasSeenWithoutAnExchange) {
  const NoExchange none;
  expect_to_replace_what_was_seen_and_nothing_else();
}

TEST(StagedFile, ReplacesWhatWasSeenWithPlainRenames) {
  const PlainRenamesOnly only;
  expect_to_replace_what_was_seen_and_nothing_else();
}

// At every call the process is killed, or the call fails: the old file is there or the new one, at
// the latest after the next start.
TEST(StagedFile, LosesNothingAtAnyCall) {
  const DisarmFault disarm;
  for (const bool exchanges : {true, false}) {
    no_exchange = !exchanges;
    for (const bool is_killed : {true, false}) {
      bool has_ended = false;
      for (int call = 1; !has_ended; ++call) {
        const TemporaryDirectory directory;
        const std::string path = directory / "a";
        put(path, "old");
        const FileIdentity old = identity_at(path);
        const pid_t child = ::fork();
        ASSERT_GE(child, 0);
        if (child == 0) {
          fault = {.in = call, .error = EIO, .kill = is_killed};
          try {
            StagedFile(path, "new").put_in_place_of(old);
          } catch (const StorageError&) {
          }
          ::_exit(fault.fired == 0 ? 0 : 1);
        }
        int status = 0;
        ASSERT_EQ(::waitpid(child, &status, 0), child);
        has_ended = WIFEXITED(status) && WEXITSTATUS(status) == 0;
        remove_stale_temporaries(directory.path());
        EXPECT_THAT(names_in(directory.path()), ElementsAre("a"))
            << "call " << call << ", killed " << is_killed << ", exchanges " << exchanges;
        EXPECT_THAT(contents(path), ::testing::AnyOf("old", "new"));
      }
    }
  }
  no_exchange = false;
}

// Killed behind the exchange that put another process's file aside, and before it could be put
// back: nothing of the two is lost.
TEST(StagedFile, KeepsAnothersFileWhereItIsKilledBehindTheExchange) {
  const TemporaryDirectory directory;
  const std::string path = directory / "a";
  put(path, "old");
  const FileIdentity old = identity_at(path);
  ASSERT_TRUE(is_killed_in([&] {
    StagedFile staged(path, "new");
    before_rename = [&] {  // to its name aside
      before_rename = [&] {
        std::filesystem::remove(path);
        put(path, "another's");
        fault = {.call = Call::kRename, .in = 2, .kill = true};
      };
    };
    (void)staged.put_in_place_of(old);
  }));
  ASSERT_THAT(names_in(directory.path()), UnorderedElementsAre("a", ::testing::EndsWith(".aside")));
  EXPECT_EQ(remove_stale_temporaries(directory.path()), 0u);
  EXPECT_EQ(names_in(directory.path()).size(), 2U);
  std::filesystem::remove(path);
  EXPECT_EQ(remove_stale_temporaries(directory.path()), 1u);
  EXPECT_EQ(contents(path), "another's");
  EXPECT_THAT(names_in(directory.path()), ElementsAre("a"));
}

TEST(StagedFile, CountsAnEqualFileThatAnotherProcessPutThereAsWritten) {
  for (const bool exchanges : {true, false}) {
    no_exchange = !exchanges;
    const TemporaryDirectory directory;
    const std::string path = directory / "a";
    put(path, "old");
    const FileIdentity old = identity_at(path);
    std::filesystem::remove(path);
    put(path, "new");
    const FileIdentity other = identity_at(path);
    EXPECT_EQ(StagedFile(path, "new").put_in_place_of(old), Committed::kWasThere);
    EXPECT_EQ(StagedFile(path, "new").put_in_place_of({}), Committed::kWasThere);
    EXPECT_EQ(identity_at(path).inode, other.inode);
    EXPECT_THAT(names_in(directory.path()), ElementsAre("a"));
  }
  no_exchange = false;
}

TEST(StagedFile, SaysWhenThePlaceCannotBeTaken) {
  const TemporaryDirectory directory;
  const std::string path = directory / "a";
  std::filesystem::create_directory(path);
  StagedFile staged(path, "new");
  EXPECT_THROW(staged.put_in_place(), StorageError);
  EXPECT_THROW(StagedFile(directory / "none/a", "new"), StorageError);
}

TEST(MakeDirectories, MakesWhatIsMissing) {
  const TemporaryDirectory directory;
  EXPECT_THAT(make_directories(directory / "a/b"), ElementsAre(directory / "a", directory / "a/b"));
  EXPECT_THAT(make_directories(directory / "a/b"), IsEmpty());
  write_durably(directory / "file", "");
  EXPECT_THROW(make_directories(directory / "file"), StorageError);
  EXPECT_THROW(make_directories(directory / "file/b"), StorageError);
}

TEST(MakeDirectories, MakesNothingAboveADirectoryThatHasToBeThere) {
  const TemporaryDirectory directory;
  EXPECT_THAT(make_directories(directory / "a/b", directory.path()),
              ElementsAre(directory / "a", directory / "a/b"));
  EXPECT_THAT(make_directories(directory / "a/c", directory / "a"), ElementsAre(directory / "a/c"));
  EXPECT_THROW(make_directories(directory / "gone/b", directory / "gone"), StorageError);
  EXPECT_FALSE(std::filesystem::exists(directory / "gone"));
}

TEST(MakeDirectories, LeavesNothingOfWhatItCannotMakeWhole) {
  const TemporaryDirectory directory;
  std::string deep = directory.path();
  while (deep.size() < 6000) deep += "/a";
  for (const std::string& path : {deep, directory / "b/c/" + std::string(256, 'n'),
                                  directory / "b/c/" + std::string(5000, 'n')}) {
    EXPECT_THROW(make_directories(path), StorageError);
    EXPECT_THAT(names_in(directory.path()), IsEmpty());
  }
}

TEST(RemoveWhatWasSeen, PutsAnotherFileBack) {
  const TemporaryDirectory directory;
  const std::string path = directory / "a";
  const auto look = [&] {
    struct stat status {};
    EXPECT_EQ(::lstat(path.c_str(), &status), 0);
    return identity_of(status);
  };
  put(path, "old");
  const FileIdentity old = look();
  write_durably(path, "new", IfPresent::kReplace);
  EXPECT_FALSE(remove_what_was_seen(path, old));
  EXPECT_EQ(contents(path), "new");
  EXPECT_TRUE(remove_what_was_seen(path, look()));
  EXPECT_TRUE(remove_what_was_seen(path, old));  // gone already
  EXPECT_THAT(names_in(directory.path()), IsEmpty());
}

TEST(TemporaryName, IsReadFromTheRight) {
  const auto parsed = parse_temporary_name(".a.b.safetensors.host-1.4711.0123456789abcdef.tmp");
  ASSERT_TRUE(parsed);
  EXPECT_EQ(parsed->host, "host-1");
  EXPECT_EQ(parsed->pid, 4711);
  EXPECT_EQ(parsed->boot, "");
  const auto with_kernel = parse_temporary_name(".a.host.7.89abcdef012345670123456789abcdef.tmp");
  ASSERT_TRUE(with_kernel);
  EXPECT_EQ(with_kernel->boot, "89abcdef");
  EXPECT_EQ(with_kernel->pid_namespace, "01234567");
}

TEST(TemporaryName, IsNotSeenInOtherNames) {
  for (const char* name :
       {"", ".tmp", "a.host.1.0123456789abcdef.tmp", ".a.host.1.0123456789abcdef",
        ".a.host.1.123.tmp", ".a.host.x.0123456789abcdef.tmp", ".a.host.-1.0123456789abcdef.tmp",
        ".a.host.0.0123456789abcdef.tmp", ".host.1.0123456789abcdef.tmp", ".1.0123456789abcdef.tmp",
        ".a.host.99999999999999999999.0123456789abcdef.tmp", ".a..1.0123456789abcdef.tmp"}) {
    EXPECT_FALSE(parse_temporary_name(name)) << name;
  }
}

TEST(RemoveStaleTemporaries, KeepsWhatMayBeInUse) {
  const TemporaryDirectory directory;
  std::array<char, 256> buffer{};
  ::gethostname(buffer.data(), buffer.size() - 1);
  std::string host(buffer.data());
  std::replace(host.begin(), host.end(), '.', '-');
  const pid_t dead = ::fork();
  if (dead == 0) ::_exit(0);
  ::waitpid(dead, nullptr, 0);
  const std::string random = ".0123456789abcdef.tmp";
  const auto name = [&](const std::string& of_host, pid_t pid) {
    std::string text = ".a.";
    return text.append(of_host).append(".").append(std::to_string(pid)).append(random);
  };
  const std::string mine = name(host, ::getpid()), of_dead = name(host, dead),
                    elsewhere = name("elsewhere", dead), old = name("elsewhere", 1);
  for (const std::string& file : {mine, of_dead, elsewhere, old, std::string(".a.tmp")}) {
    put(directory / file, "x");
  }
  const timespec times[2] = {{::time(nullptr) - 25 * 3600, 0}, {::time(nullptr) - 25 * 3600, 0}};
  ASSERT_EQ(::utimensat(AT_FDCWD, (directory / old).c_str(), times, 0), 0);
  ASSERT_EQ(::utimensat(AT_FDCWD, (directory / ".a.tmp").c_str(), times, 0), 0);
  EXPECT_EQ(remove_stale_temporaries(directory.path()), 2u);
  EXPECT_THAT(names_in(directory.path()), UnorderedElementsAre(mine, elsewhere, ".a.tmp"));
  EXPECT_THROW(remove_stale_temporaries(directory / "none"), StorageError);
}

// A process that is writing `path`, until it is told to end.
class Writer {
 public:
  explicit Writer(const std::string& path, bool in_a_container = false) {
    int ready[2];
    EXPECT_EQ(::pipe(ready), 0);
    middle_ = ::fork();
    if (middle_ == 0) {
      // The number of a process of a new namespace means nothing outside of it.
      if (in_a_container && ::unshare(CLONE_NEWPID) != 0) ::_exit(1);
      const pid_t writer = ::fork();
      if (writer != 0) {
        ::waitpid(writer, nullptr, 0);
        ::_exit(0);
      }
      ::prctl(PR_SET_PDEATHSIG, SIGKILL);
      const UnfinishedFile file(path);
      (void)!::write(ready[1], "x", 1);
      for (;;) ::pause();
    }
    ::close(ready[1]);
    char byte = 0;
    began_ = ::read(ready[0], &byte, 1) == 1;
    ::close(ready[0]);
  }
  ~Writer() { kill(); }
  bool began() const { return began_; }
  void kill() {
    if (middle_ > 0) {
      ::kill(middle_, SIGKILL);
      ::waitpid(std::exchange(middle_, 0), nullptr, 0);
    }
  }

 private:
  pid_t middle_ = 0;
  bool began_ = false;
};

void expect_to_be_kept_while_it_is_written(Writer& writer, const std::string& directory) {
  const auto names = names_in(directory);
  ASSERT_THAT(names, ::testing::SizeIs(1));
  EXPECT_EQ(remove_stale_temporaries(directory), 0u);
  const timespec times[2] = {{::time(nullptr) - 25 * 3600, 0}, {::time(nullptr) - 25 * 3600, 0}};
  ASSERT_EQ(::utimensat(AT_FDCWD, (directory + "/" + names[0]).c_str(), times, 0), 0);
  EXPECT_EQ(remove_stale_temporaries(directory), 0u) << "an old one";
  EXPECT_EQ(names_in(directory), names);
  writer.kill();
  std::size_t removed = 0;  // its child dies a little later
  for (int i = 0; i < 1000 && removed == 0; ++i) {
    removed = remove_stale_temporaries(directory);
    if (removed == 0) ::usleep(10'000);
  }
  EXPECT_EQ(removed, 1u);
  EXPECT_THAT(names_in(directory), IsEmpty());
}

TEST(RemoveStaleTemporaries, KeepsWhatAnotherProcessIsWriting) {
  const TemporaryDirectory directory;
  Writer writer(directory / "a");
  ASSERT_TRUE(writer.began());
  expect_to_be_kept_while_it_is_written(writer, directory.path());
}

TEST(RemoveStaleTemporaries, KeepsWhatAProcessOfAnotherContainerIsWriting) {
  const TemporaryDirectory directory;
  Writer writer(directory / "a", /*in_a_container=*/true);
  if (!writer.began()) GTEST_SKIP() << "no namespace of processes can be made here";
  expect_to_be_kept_while_it_is_written(writer, directory.path());
}

// The data are closed before the file is put in its place, and the lock is still needed then.
TEST(RemoveStaleTemporaries, KeepsWhatIsReadyToBePutInPlace) {
  const TemporaryDirectory directory;
  StagedFile staged(directory / "a", "new");
  EXPECT_EQ(remove_stale_temporaries(directory.path()), 0u);
  staged.put_in_place();
  EXPECT_EQ(contents(directory / "a"), "new");
}

TEST(RemoveStaleTemporaries, TouchesNothingButFiles) {
  const TemporaryDirectory directory;
  const std::string tail = ".host.1.0123456789abcdef.tmp";
  put(directory / "target", "x");
  std::filesystem::create_symlink("target", directory / (".link" + tail));
  std::filesystem::create_directory(directory / (".folder" + tail));
  ASSERT_EQ(::mkfifo((directory / (".fifo" + tail)).c_str(), 0600), 0);
  EXPECT_EQ(remove_stale_temporaries(directory.path()), 0u);
  EXPECT_EQ(names_in(directory.path()).size(), 4u);
}

}  // namespace
}  // namespace w2vbert::testing
