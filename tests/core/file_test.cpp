#include "core/file.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <string>
#include <vector>

#include "support/descriptor_limit.h"
#include "support/error_message.h"
#include "support/temporary_directory.h"
#include "support/text_file.h"
#include "w2vbert/core/error.h"

// The test stands between the reader and the system: linked with --wrap=pread, fstat and stat.
namespace {
int interruptions = 0;
int stale_answers = 0;
int failing_reads = 0;
int error_of_looks = 0;     // which every stat() and fstat() gives; 0: what the system says
std::size_t max_bytes = 0;  // of one read; 0: as many as asked for
}  // namespace

// NOLINTBEGIN(bugprone-reserved-identifier): the names that the linker's --wrap gives
extern "C" {
int __real_stat(const char* path, struct stat* status);
int __wrap_stat(const char* path, struct stat* status) {
  if (error_of_looks == 0) return __real_stat(path, status);
  errno = error_of_looks;
  return -1;
}

int __real_fstat(int descriptor, struct stat* status);
int __wrap_fstat(int descriptor, struct stat* status) {
  if (error_of_looks == 0) return __real_fstat(descriptor, status);
  errno = error_of_looks;
  return -1;
}

ssize_t __real_pread(int descriptor, void* to, std::size_t bytes, off_t offset);
ssize_t __wrap_pread(int descriptor, void* to, std::size_t bytes, off_t offset) {
  if (interruptions > 0) {
    --interruptions;
    errno = EINTR;
    return -1;
  }
  if (stale_answers > 0) {
    --stale_answers;
    errno = ESTALE;
    return -1;
  }
  if (failing_reads > 0) {
    --failing_reads;
    errno = EIO;
    return -1;
  }
  if (max_bytes != 0 && bytes > max_bytes) bytes = max_bytes;
  return __real_pread(descriptor, to, bytes, offset);
}
}
// NOLINTEND(bugprone-reserved-identifier)

namespace w2vbert::testing {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

std::string opening(const std::string& path) {
  return message_of<ConfigError>([&] { InputFile::open<ConfigError>(path); });
}

class InputFileTest : public ::testing::Test {
 protected:
  void SetUp() override {
    interruptions = stale_answers = failing_reads = error_of_looks = 0;
    max_bytes = 0;
  }
  TemporaryDirectory directory_;
};

TEST_F(InputFileTest, ReadsAnyPart) {
  write_text(directory_ / "a", "0123456789");
  const auto file = InputFile::open<ConfigError>(directory_ / "a");
  EXPECT_EQ(file.size(), 10U);
  EXPECT_EQ(file.path(), directory_ / "a");
  std::string part(4, ' ');
  file.read_at(3, part.data(), part.size());
  EXPECT_EQ(part, "3456");
  EXPECT_EQ(read_whole(file, 10), "0123456789");
  EXPECT_EQ(read_whole(file, 3), "012");
}

TEST_F(InputFileTest, ReadsAMemberAsAFileOfItsOwn) {
  write_text(directory_ / "a", "0123456789");
  const auto container =
      std::make_shared<const InputFile>(InputFile::open<ConfigError>(directory_ / "a"));
  const InputFile member = InputFile::member(container, "a/x", 3, 4);
  EXPECT_EQ(member.size(), 4U);
  EXPECT_EQ(member.path(), "a/x");
  EXPECT_EQ(member.path_on_disk(), directory_ / "a");
  EXPECT_EQ(read_whole(member, 10), "3456");
  std::string part(8, ' ');
  EXPECT_EQ(member.read_some(1, part.data(), 8), 3);  // and not what stands behind it
  EXPECT_EQ(part, "456     ");
  EXPECT_EQ(member.read_some(9, part.data(), 8), 0);
  EXPECT_THAT(message_of<ConfigError>([&] { member.read_at(1, part.data(), 4); }),
              HasSubstr("a/x: ended while it was read"));
  EXPECT_THAT(message_of<ConfigError>([&] { InputFile::member(container, "a/y", 8, 4); }),
              HasSubstr("a/y: is cut: 2 of its 4 bytes are there"));
  EXPECT_THAT(message_of<ConfigError>([&] { InputFile::member(container, "a/z", 11, 1); }),
              HasSubstr("0 of its 1 bytes"));
  const InputFile unpacked = InputFile::member(container, "a/u", "unpacked");
  EXPECT_EQ(read_whole(unpacked, 20), "unpacked");
  EXPECT_TRUE(member.is_in_place());
  write_text(directory_ / "a", "changed, and longer");
  EXPECT_FALSE(member.is_in_place());
  EXPECT_THROW(member.check_unchanged(), ConfigError);
  EXPECT_THROW(unpacked.check_unchanged(), ConfigError);
}

TEST_F(InputFileTest, ReadsWhatIsInMemory) {
  const auto file = InputFile::in_memory<ConfigError>("input 3", "0123456789");
  EXPECT_EQ(read_whole(file, 10), "0123456789");
  std::string part(4, ' ');
  file.read_at(6, part.data(), 4);
  EXPECT_EQ(part, "6789");
  EXPECT_THAT(message_of<ConfigError>([&] { file.read_at(7, part.data(), 4); }),
              HasSubstr("input 3: ended while it was read"));
  EXPECT_EQ(file.path_on_disk(), "");
  EXPECT_EQ(file.descriptor(), -1);
  EXPECT_TRUE(file.is_in_place());
  file.check_unchanged();
}

TEST_F(InputFileTest, SaysThatItCouldNotExamineAFile) {
  write_text(directory_ / "a", "abc");
  error_of_looks = EIO;
  EXPECT_THAT(opening(directory_ / "a"),
              AllOf(HasSubstr("/a: cannot be examined"), HasSubstr("Input/output error")));
}

// An error of the disk, or a folder that may not be searched, is not as if nothing were there.
TEST_F(InputFileTest, TellsWhatIsAbsentFromWhatCannotBeExamined) {
  write_text(directory_ / "a", "abc");
  const std::string path = directory_ / "a";
  for (const int error : {EIO, EACCES, ESTALE, ENOMEM}) {
    error_of_looks = error;
    for (const std::string& message :
         {message_of<StorageError>([&] { exists(path); }),
          message_of<StorageError>([&] { is_directory(path); }),
          message_of<ConfigError>([&] { exists<ConfigError>(path); }),
          message_of<CheckpointError>([&] { is_directory<CheckpointError>(path); })}) {
      EXPECT_THAT(message,
                  AllOf(HasSubstr("/a: cannot be examined"), HasSubstr(std::strerror(error))));
    }
  }
  for (const int error : {ENOENT, ENOTDIR, ELOOP, ENAMETOOLONG}) {
    error_of_looks = error;
    EXPECT_FALSE(exists(path));
    EXPECT_FALSE(is_directory(path));
  }
  error_of_looks = 0;
  EXPECT_TRUE(exists(path));
  EXPECT_FALSE(is_directory(path));
  EXPECT_TRUE(is_directory(directory_ / "."));
}

TEST_F(InputFileTest, FollowsLinks) {
  write_text(directory_ / "a", "abc");
  std::filesystem::create_symlink("a", directory_ / "link");
  EXPECT_EQ(read_small_file<ConfigError>(directory_ / "link", 3), "abc");
}

TEST_F(InputFileTest, RefusesAtOnceWhatIsNoRegularFile) {
  ASSERT_EQ(::mkfifo((directory_ / "fifo").c_str(), 0600), 0);
  EXPECT_THAT(opening(directory_ / "fifo"), HasSubstr("is a pipe"));
  EXPECT_THAT(opening(directory_.path()), HasSubstr("is a directory"));
  EXPECT_THAT(opening("/dev/zero"), HasSubstr("is a device"));
  EXPECT_THAT(opening("/dev/null"), HasSubstr("is a device"));
  EXPECT_THAT(opening(directory_ / "missing"),
              AllOf(HasSubstr(directory_ / "missing"), HasSubstr("No such file")));
  EXPECT_THAT(opening(std::string("a\0b", 3)), HasSubstr("NUL"));
  EXPECT_THAT(opening(""), HasSubstr("No such file"));
  std::filesystem::create_symlink("loop", directory_ / "loop");
  EXPECT_THAT(opening(directory_ / "loop"), HasSubstr("cannot be opened"));
}

TEST_F(InputFileTest, LeavesNoDescriptorBehind) {
  const auto descriptors = [] {
    const std::filesystem::directory_iterator open("/proc/self/fd");
    return std::distance(begin(open), end(open));
  };
  write_text(directory_ / "a", "abc");
  const auto before = descriptors();
  for (int i = 0; i < 10; ++i) {
    auto file = InputFile::open<ConfigError>(directory_ / "a");
    const InputFile moved = std::move(file);
    EXPECT_EQ(moved.size(), 3U);
    EXPECT_NE(opening("/dev/null"), "");
  }
  EXPECT_EQ(descriptors(), before);
}

TEST_F(InputFileTest, GoesOnAfterInterruptionsAndShortReads) {
  write_text(directory_ / "a", "0123456789");
  interruptions = 5;
  max_bytes = 3;
  EXPECT_EQ(read_small_file<ConfigError>(directory_ / "a", 10), "0123456789");
}

TEST_F(InputFileTest, AsksAStaleFileAgainThreeTimes) {
  write_text(directory_ / "a", "0123456789");
  const auto file = InputFile::open<ConfigError>(directory_ / "a");
  stale_answers = 3;
  EXPECT_EQ(read_whole(file, 10), "0123456789");
  EXPECT_NE(::fcntl(file.descriptor(), F_GETFD) & FD_CLOEXEC, 0);
  stale_answers = 4;
  EXPECT_THAT(message_of<ConfigError>([&] { read_whole(file, 10); }), HasSubstr("Stale"));
}

TEST_F(InputFileTest, IsNotFooledByAnotherFileInThePlaceOfAStaleOne) {
  write_text(directory_ / "a", "0123456789");
  const auto file = InputFile::open<ConfigError>(directory_ / "a");
  write_text(directory_ / "b", "abcdefghij");
  std::filesystem::rename(directory_ / "b", directory_ / "a");
  stale_answers = 1;
  EXPECT_THAT(message_of<ConfigError>([&] { read_whole(file, 10); }),
              HasSubstr("changed by another process"));
}

TEST_F(InputFileTest, NoticesThatAFileShrank) {
  write_text(directory_ / "a", "0123456789");
  const auto file = InputFile::open<ConfigError>(directory_ / "a");
  std::filesystem::resize_file(directory_ / "a", 4);
  EXPECT_THAT(message_of<ConfigError>([&] { read_whole(file, 10); }),
              AllOf(HasSubstr(directory_ / "a"), HasSubstr("another process has cut it short")));
}

TEST_F(InputFileTest, NoticesThatAFileGrewWithinOneTickOfTheClock) {
  write_text(directory_ / "a", "0123456789");
  const auto file = InputFile::open<ConfigError>(directory_ / "a");
  const auto before = std::filesystem::last_write_time(directory_ / "a");
  write_text(directory_ / "a", "0123456789a");
  std::filesystem::last_write_time(directory_ / "a", before);
  EXPECT_THAT(message_of<ConfigError>([&] { file.check_unchanged(); }),
              HasSubstr("changed by another process"));
}

TEST_F(InputFileTest, NoticesThatAFileChanged) {
  write_text(directory_ / "a", "0123456789");
  const auto file = InputFile::open<ConfigError>(directory_ / "a");
  file.check_unchanged();
  const struct timespec times[2] = {{0, UTIME_OMIT}, {12345, 678}};
  ASSERT_EQ(::utimensat(AT_FDCWD, (directory_ / "a").c_str(), times, 0), 0);
  EXPECT_THAT(message_of<ConfigError>([&] { file.check_unchanged(); }), HasSubstr("changed"));
}

TEST_F(InputFileTest, TakesTheSizeOfLargeFilesWhole) {
  write_text(directory_ / "a", "");
  const std::uint64_t size = (std::uint64_t{5} << 30) + 1;
  std::filesystem::resize_file(directory_ / "a", size);  // sparse
  const auto file = InputFile::open<ConfigError>(directory_ / "a");
  EXPECT_EQ(file.size(), size);
  char last = 'x';
  file.read_at(size - 1, &last, 1);
  EXPECT_EQ(last, '\0');
}

TEST_F(InputFileTest, RefusesASmallFileThatIsLarge) {
  write_text(directory_ / "a", "0123456789");
  EXPECT_EQ(message_of<ConfigError>([&] { read_small_file<ConfigError>(directory_ / "a", 9); }),
            directory_ / "a" + ": has 10 bytes, expected at most 9");
}

TEST_F(InputFileTest, IsReportedInTheErrorOfTheCallersKind) {
  EXPECT_THROW(InputFile::open<CheckpointError>("/missing"), CheckpointError);
  EXPECT_THROW(InputFile::open<AudioError>("/missing"), AudioError);
}

// What a file holds is one thing, that it could not be read is another.
TEST_F(InputFileTest, TellsWhatCannotBeReadFromWhatIsWrong) {
  const auto open = [](const std::string& path) {
    return InputFile::open<CheckpointError, StorageError>(path);
  };
  EXPECT_THROW(open(directory_ / "missing"), CheckpointError);
  EXPECT_THROW(open(directory_.path()), CheckpointError);  // a directory
  write_text(directory_ / "a", "0123456789");
  EXPECT_THROW(open(directory_ / "a/b"), CheckpointError);
  char byte = 0;
  failing_reads = 1;
  EXPECT_THROW(open(directory_ / "a").read_at(0, &byte, 1), StorageError);
  stale_answers = 100;
  EXPECT_THROW(open(directory_ / "a").read_at(0, &byte, 1), StorageError);
  stale_answers = 0;
  const auto file = open(directory_ / "a");
  std::filesystem::resize_file(directory_ / "a", 4);
  EXPECT_THROW(file.read_at(4, &byte, 1), StorageError);
  EXPECT_THROW(file.check_unchanged(), StorageError);

  const DescriptorLimit limit;
  EXPECT_THROW(open(directory_ / "a"), StorageError);
}

TEST(Paths, AreThereNotThereOrCannotBeLookedAt) {
  const TemporaryDirectory directory;
  write_text(directory / "a", "");
  EXPECT_TRUE(exists(directory / "a"));
  EXPECT_FALSE(exists(directory / "b"));
  EXPECT_FALSE(exists(directory / "a/b"));
  if (::geteuid() == 0) GTEST_SKIP() << "root may look into every directory";
  std::filesystem::create_directory(directory / "locked");
  std::filesystem::permissions(directory / "locked", std::filesystem::perms::none);
  EXPECT_THROW((void)exists(directory / "locked/a"), StorageError);
}

TEST(Paths, AreJoinedByOneSlash) {
  EXPECT_EQ(join_path("a", "b"), "a/b");
  EXPECT_EQ(join_path("a/", "b"), "a/b");
  EXPECT_EQ(join_path("/", "b"), "/b");
  EXPECT_EQ(join_path("", "b"), "b");
}

TEST(Paths, AreTakenApart) {
  EXPECT_EQ(parent_path("a/b"), "a");
  EXPECT_EQ(parent_path("/a"), "/");
  EXPECT_EQ(parent_path("a"), ".");
  EXPECT_EQ(directory_prefix("a/b/c"), "a/b/");
  EXPECT_EQ(directory_prefix("/a"), "/");
  EXPECT_EQ(directory_prefix("a"), "");
  EXPECT_EQ(file_name("a/b"), "b");
  EXPECT_EQ(file_name("a"), "a");
  EXPECT_EQ(file_name("a/"), "");
  EXPECT_EQ(without_trailing_slashes("a/b//"), "a/b");
  EXPECT_EQ(without_trailing_slashes("//"), "/");
  EXPECT_EQ(without_trailing_slashes(""), "");
}

TEST(Paths, AreToldApart) {
  const TemporaryDirectory directory;
  write_text(directory / "a", "");
  EXPECT_TRUE(is_directory(directory.path()));
  EXPECT_FALSE(is_directory(directory / "a"));
  EXPECT_TRUE(exists(directory / "a"));
  EXPECT_FALSE(exists(directory / "b"));
}

}  // namespace
}  // namespace w2vbert::testing
