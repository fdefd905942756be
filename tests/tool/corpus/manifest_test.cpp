#include "tool/corpus/manifest.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "support/error_message.h"
#include "w2vbert/core/error.h"

namespace w2vbert::tool::testing {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

class Manifest : public ::testing::Test {
 protected:
  void SetUp() override {
    folder_ = ::testing::TempDir() + "manifest_test." + std::to_string(::getpid()) + "/";
    std::filesystem::create_directories(folder_);
  }
  void TearDown() override { std::filesystem::remove_all(folder_); }

  std::vector<std::string> paths_of(const std::string& content,
                                    const std::string& name = "list.txt") {
    std::ofstream(folder_ + name, std::ios::binary) << content;
    return paths_in(folder_ + name);
  }

  std::vector<std::string> paths_in(const std::string& path) {
    InputList list("/");
    read_manifest(path, manifest_format_of(path), list);
    bad_rows_.clear();
    for (const BadRow& row : list.bad_rows()) bad_rows_.push_back(row.place + ": " + row.problem);
    std::vector<std::string> paths;
    for (std::size_t i = 0; i < list.size(); ++i) paths.push_back(list.path(i));
    return paths;
  }

  std::string error_of(const std::string& content, const std::string& name = "list.txt") {
    return message_of<UsageError>([&] { paths_of(content, name); });
  }

  std::string folder_;
  std::vector<std::string> bad_rows_;  // of the last list
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
  EXPECT_THAT(error_of(""), HasSubstr("is empty"));
  EXPECT_THAT(error_of("\n \r\n"), HasSubstr("is empty"));
  EXPECT_THAT(error_of(std::string("/a\n/b\0c\n", 8)), HasSubstr("line 2: holds a NUL byte"));
  EXPECT_THAT(error_of("/a\n/" + std::string(70000, 'x')), HasSubstr("line 2: is longer than"));
}

TEST_F(Manifest, RefusesWhatIsNoRegularFile) {
  EXPECT_THROW(paths_in(folder_), UsageError);
  EXPECT_THROW(paths_in(folder_ + "missing"), UsageError);
  EXPECT_THROW(paths_in("/dev/zero"), UsageError);
  ASSERT_EQ(::mkfifo((folder_ + "fifo").c_str(), 0600), 0);
  EXPECT_THROW(paths_in(folder_ + "fifo"), UsageError);
}

TEST_F(Manifest, ReadsFairseqsTsv) {
  EXPECT_THAT(paths_of("/data\na/b c.wav\t16000\n\n/other/d.wav\t5\r\n", "train.tsv"),
              ElementsAre("/data/a/b c.wav", "/other/d.wav"));
  EXPECT_THAT(paths_of("data/\na.wav\t1\n", "train.tsv"), ElementsAre("data/a.wav"));
  EXPECT_THAT(paths_of("/data\na.wav\nb.wav\t1\t2\nc.wav\t-1\nd.wav\tx\ne.wav\t1\n", "train.tsv"),
              ElementsAre("/data/e.wav"));
  EXPECT_THAT(bad_rows_, ElementsAre(HasSubstr("line 2: has 1 fields"), HasSubstr("line 3: has 3"),
                                     HasSubstr("line 4: \"-1\""), HasSubstr("line 5: \"x\"")));
  EXPECT_THAT(error_of("/data\n", "train.tsv"), HasSubstr("is empty"));
}

TEST_F(Manifest, ReadsNemosJsonLines) {
  std::ofstream(folder_ + "m.jsonl")
      << R"({"audio_filepath": "a.wav", "duration": 3.2, "text": "x", "lang": ["de"]})"
      << "\n"
      << R"({"audio_filepath": "/b.wav", "offset": 1.5, "duration": 2})"
      << "\n"
      << R"({"audio_filepath": "\u00e4.wav", "offset": 0, "duration": null})"
      << "\n";
  InputList list("/");
  read_manifest(folder_ + "m.jsonl", ManifestFormat::jsonl, list);
  ASSERT_EQ(list.size(), 3U);
  EXPECT_EQ(list.path(0), folder_ + "a.wav");
  EXPECT_FALSE(list.segment(0));
  EXPECT_EQ(list.segment(1)->offset_seconds, 1.5);
  EXPECT_EQ(list.segment(1)->duration_seconds, 2);
  EXPECT_EQ(list.path(2), folder_ + "\xC3\xA4.wav");
  EXPECT_EQ(list.segment(2)->duration_seconds, 0);

  EXPECT_THAT(paths_of("{\"audio_filepath\": \"a\", \"offset\": -1}\n"
                       "{\"audio_filepath\": \"a\", \"offset\": -0.5}\n"
                       "{\"audio_filepath\": \"a\", \"duration\": 0}\n"
                       "{\"audio_filepath\": \"a\", \"duration\": \"3\"}\n"
                       "{\"audio_filepath\": \"a\", \"duration\": 1e999}\n"
                       "{\"audio_filepath\": \"a\", \"duration\": true}\n"
                       "{\"audio_filepath\": \"/ok\"}\n",
                       "m.json"),
              ElementsAre("/ok"));
  EXPECT_THAT(bad_rows_, ::testing::SizeIs(6));
  for (const char* row :
       {"a.wav", "[1]", "{}", "{\"audio_filepath\": 1}", "{\"audio_filepath\": \"\"}",
        "{\"audio_filepath\": \"a\", \"audio_filepath\": \"b\"}",
        "{\"audio_filepath\": \"a\\u0000\"}", "{\"audio_filepath\": \"a\"} x"}) {
    EXPECT_THAT(error_of(std::string(row) + "\n", "m.jsonl"), HasSubstr("line 1: ")) << row;
  }
}

TEST_F(Manifest, ReadsKaldisScp) {
  std::ofstream(folder_ + "wav.scp") << "utt-1 a.wav\nutt-2\t /b c.wav \n";
  InputList list("/");
  read_manifest(folder_ + "wav.scp", ManifestFormat::scp, list);
  list.finish();
  EXPECT_EQ(list.name(0), "utt-1");
  EXPECT_EQ(list.path(0), folder_ + "a.wav");
  EXPECT_EQ(list.path(1), "/b c.wav");
  EXPECT_THAT(paths_of("utt\nutt-1 /a.wav\n", "wav.scp"), ElementsAre("/a.wav"));
  EXPECT_THAT(bad_rows_, ElementsAre(HasSubstr("line 1: has one field")));
  EXPECT_THAT(error_of("utt-1 /a.wav\nutt-2 sox a.mp3 -t wav - | \n", "wav.scp"),
              HasSubstr("line 2: is a command"));
}

TEST_F(Manifest, TellsFormatsByTheEnding) {
  EXPECT_EQ(manifest_format_of("a/train.tsv"), ManifestFormat::tsv);
  EXPECT_EQ(manifest_format_of("a.jsonl"), ManifestFormat::jsonl);
  EXPECT_EQ(manifest_format_of("wav.scp"), ManifestFormat::scp);
  EXPECT_EQ(manifest_format_of("-"), ManifestFormat::list);
}

TEST_F(Manifest, FindsTheAudioFilesOfADirectory) {
  for (const char* file :
       {"b/2.FLAC", "b/1.wav", "a.opus", "text.txt", ".hidden.wav", ".cache/x.wav"}) {
    std::filesystem::create_directories(std::filesystem::path(folder_ + file).parent_path());
    std::ofstream(folder_ + file) << "x";
  }
  std::filesystem::create_directories(folder_ + "folder.wav");
  std::filesystem::create_symlink("a.opus", folder_ + "link.wav");
  std::filesystem::create_symlink("nowhere", folder_ + "dangling.wav");
  std::filesystem::create_directory_symlink("b", folder_ + "again");
  InputList list("/");
  read_audio_directory(folder_.substr(0, folder_.size() - 1), list);
  std::vector<std::string> paths;
  for (std::size_t i = 0; i < list.size(); ++i) paths.push_back(list.path(i));
  EXPECT_THAT(paths, ElementsAre(folder_ + "a.opus", folder_ + "b/1.wav", folder_ + "b/2.FLAC",
                                 folder_ + "link.wav"));
  InputList none("/");
  EXPECT_THROW(read_audio_directory(folder_ + "folder.wav", none), UsageError);
  EXPECT_THROW(read_audio_directory(folder_ + "missing", none), UsageError);
}

}  // namespace
}  // namespace w2vbert::tool::testing
