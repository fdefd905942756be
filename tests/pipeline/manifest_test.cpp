#include "w2vbert/pipeline/manifest.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "w2vbert/core/error.h"

namespace w2vbert {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

class Manifest : public testing::Test {
 protected:
  void SetUp() override {
    folder_ = testing::TempDir() + "manifest_test." + std::to_string(::getpid()) + "/";
    std::filesystem::create_directories(folder_);
  }
  void TearDown() override { std::filesystem::remove_all(folder_); }

  std::vector<std::string> paths_of(const std::string& content) {
    std::ofstream(folder_ + "list.txt", std::ios::binary) << content;
    return paths_in(folder_ + "list.txt");
  }

  std::vector<std::string> paths_in(const std::string& path) {
    InputList list("/");
    read_manifest(path, list);
    std::vector<std::string> paths;
    for (std::size_t i = 0; i < list.size(); ++i) paths.push_back(list.path(i));
    return paths;
  }

  std::string refusal_of(const std::string& content) {
    try {
      paths_of(content);
    } catch (const UsageError& error) {
      return error.what();
    }
    return "accepted";
  }

  std::string folder_;
};

TEST_F(Manifest, CountsRelativePathsFromItsFolder) {
  EXPECT_THAT(paths_of("a.wav\n/b/c.wav\n"), ElementsAre(folder_ + "a.wav", "/b/c.wav"));
}

TEST_F(Manifest, AcceptsByteOrderMarkCarriageReturnsBlankLinesAndAMissingLastLineBreak) {
  EXPECT_THAT(paths_of("\xEF\xBB\xBF/a.wav\r\n\r\n \t\n\n/b.wav"), ElementsAre("/a.wav", "/b.wav"));
}

TEST_F(Manifest, KeepsBlanksAndBytesThatAreNotUtf8) {
  EXPECT_THAT(paths_of("/a b .wav\n/\xFF\xFE.wav\n/#c.wav\n"),
              ElementsAre("/a b .wav", "/\xFF\xFE.wav", "/#c.wav"));
}

TEST_F(Manifest, ReadsLinesThatBlocksCut) {
  std::string content;
  for (int i = 0; i < 20000; ++i) content += "/" + std::to_string(i) + ".wav\n";
  const auto paths = paths_of(content);
  ASSERT_EQ(paths.size(), 20000U);
  for (int i = 0; i < 20000; ++i) {
    ASSERT_EQ(paths[static_cast<std::size_t>(i)], "/" + std::to_string(i) + ".wav");
  }
}

TEST_F(Manifest, RefusesEmptyListsNulBytesAndOverlongLines) {
  EXPECT_THAT(refusal_of(""), HasSubstr("is empty"));
  EXPECT_THAT(refusal_of("\n \r\n"), HasSubstr("is empty"));
  EXPECT_THAT(refusal_of(std::string("/a\n/b\0c\n", 8)), HasSubstr("line 2: holds a NUL byte"));
  EXPECT_THAT(refusal_of("/a\n/" + std::string(70000, 'x')), HasSubstr("line 2: is longer than"));
}

TEST_F(Manifest, RefusesWhatIsNoRegularFile) {
  EXPECT_THROW(paths_in(folder_), UsageError);
  EXPECT_THROW(paths_in(folder_ + "missing"), UsageError);
  EXPECT_THROW(paths_in("/dev/zero"), UsageError);
  ASSERT_EQ(::mkfifo((folder_ + "fifo").c_str(), 0600), 0);
  EXPECT_THROW(paths_in(folder_ + "fifo"), UsageError);
}

}  // namespace
}  // namespace w2vbert
