#include "tool/corpus/manifest.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <optional>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "support/error_message.h"
#include "w2vbert/core/error.h"

namespace w2vbert::tool::testing {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

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
    list.set_reserved([](std::string_view file) { return file == "run.json"; });
    read_manifest(path, std::nullopt, list);
    bad_rows_.clear();
    for (const BadRow& row : list.bad_rows()) bad_rows_.push_back(row.place + ": " + row.problem);
    std::vector<std::string> paths;
    for (std::size_t i = 0; i < list.size(); ++i) paths.push_back(list.path(i));
    return paths;
  }

  // Puts `odd` between two good rows behind `header`: it alone is bad, and in line `line`.
  void expect_bad_row(const std::string& name, const std::string& header, const std::string& first,
                      const std::string& odd, const std::string& last, int line) {
    SCOPED_TRACE(name + ": " + odd.substr(0, 80));
    EXPECT_THAT(paths_of(header + first + "\n" + odd + "\n" + last + "\n", name),
                ElementsAre("/a.wav", "/b.wav"));
    EXPECT_THAT(bad_rows_, ElementsAre(HasSubstr("line " + std::to_string(line))));
    EXPECT_THAT(bad_rows_, ElementsAre(HasSubstr(", expected ")));
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

TEST_F(Manifest, RefusesListsWithoutAGoodRow) {
  EXPECT_THAT(error_of(""), HasSubstr("is empty"));
  EXPECT_THAT(error_of("\n \r\n"), HasSubstr("is empty"));
  EXPECT_THAT(error_of(std::string("/b\0c\n", 5)), HasSubstr("is no text file"));
  EXPECT_THAT(error_of("/" + std::string(70000, 'x')), HasSubstr("line 1: is longer than"));
  EXPECT_THAT(error_of("# Lists\n\nThis is no JSON.\n", "list.jsonl"), HasSubstr("line 1: "));
  EXPECT_THAT(error_of("[1, 2]", "list.json"), HasSubstr("line 1, row 1: "));
  EXPECT_THAT(error_of("[]", "list.json"), HasSubstr("is empty"));
  EXPECT_THAT(error_of("utt sox a.mp3 |\n", "wav.scp"), HasSubstr("line 1: is a command"));
  std::string rows;
  for (int i = 0; i < 20'000; ++i) rows += "no JSON\n";
  EXPECT_THAT(error_of(rows, "list.jsonl"), HasSubstr("line 1: "));
}

TEST_F(Manifest, RefusesFilesThatAreNoText) {
  const std::string wav("RIFF\x24\x7d\0\0WAVEfmt \x10\0\0\0\x01\0\x01\0", 24);
  const std::string zeros(10000, '\0');
  for (const char* name : {"list.txt", "list.tsv", "list.csv", "list.jsonl", "wav.scp"}) {
    EXPECT_THAT(error_of(wav + zeros, name), HasSubstr("is no text file")) << name;
    EXPECT_THAT(error_of(wav + "\n" + zeros + "\n" + zeros, name), HasSubstr("is no text file"));
    EXPECT_THAT(error_of(std::string("\xFF\xFE/\0a\0\n\0", 8), name), HasSubstr("is UTF-16"));
  }
}

TEST_F(Manifest, LosesAnOddRowAndNoOther) {
  const std::string nul("c\0.wav", 6);
  const std::string overlong(70000, 'x');
  const std::string no_name = std::string(250, 'x') + ".wav";  // for an output of that name
  expect_bad_row("list.txt", "", "/a.wav", nul, "/b.wav", 2);
  expect_bad_row("list.txt", "", "/a.wav", overlong, "/b.wav", 2);
  expect_bad_row("list.txt", "", "/a.wav", no_name, "/b.wav", 2);
  expect_bad_row("list.txt", "", "/a.wav", "/x/..wav", "/b.wav", 2);
  std::string deep;
  while (deep.size() < 5000) deep += "/folder";
  expect_bad_row("list.txt", "", "/a.wav", deep, "/b.wav", 2);

  for (const std::string& odd :
       {std::string("c.wav"), std::string("c.wav\t1\t2"), std::string("c.wav\t-1"),
        std::string("c.wav\tx"), nul + "\t1", overlong, no_name + "\t1"}) {
    expect_bad_row("train.tsv", "/\n", "a.wav\t1", odd, "b.wav\t1", 3);
  }
  for (const std::string& odd : {std::string("c.wav"), std::string("c.wav,x,y"), std::string(",x"),
                                 std::string("c.wav,\"x"), std::string("c.wav,\"x\"y"), nul + ",x",
                                 overlong, no_name + ",x", std::string("\"c\nd.wav\",x")}) {
    expect_bad_row("metadata.csv", "file_name,text\n", "/a.wav,x", odd, "/b.wav,\"x\"", 3);
  }
  for (const std::string& odd : {std::string("1\tc.wav"), std::string("1\tc.wav\tx\ty"),
                                 std::string("1\t\tx"), "1\t" + nul + "\tx", overlong}) {
    expect_bad_row("validated.tsv", "id\tpath\ttext\n", "1\t/a.wav\tx", odd, "1\t/b.wav\tx", 3);
  }
  for (const std::string& odd :
       {std::string("utt"), std::string("utt sph2pipe c.sph |"), std::string("/utt c.wav"),
        std::string("../utt c.wav"), std::string("a//b c.wav"), std::string(250, 'x') + " c.wav",
        std::string("run.json/utt c.wav"), "utt " + nul, "utt " + overlong}) {
    expect_bad_row("wav.scp", "", "a /a.wav", odd, "b /b.wav", 2);
  }
}

TEST_F(Manifest, LosesAnOddObjectAndNoOther) {
  const std::string good = R"({"audio_filepath": "/a.wav"})";
  const std::string last = R"({"file_name": "/b.wav"})";
  for (const std::string& odd :
       {std::string(R"({"audio_filepath": "c.wa)"),
        std::string("c.wav"),
        std::string("# c.wav"),
        std::string("[1]"),
        std::string("1"),
        std::string("{}"),
        std::string(R"({"text": "x"})"),
        std::string(R"({"audio_filepath": null})"),
        std::string(R"({"audio_filepath": 1})"),
        std::string(R"({"audio_filepath": ""})"),
        std::string(R"({"audio_filepath": ["c.wav"]})"),
        std::string(R"({"audio_filepath": "c", "audio_filepath": "d"})"),
        std::string(R"({"audio_filepath": "c\u0000"})"),
        std::string(R"({"audio_filepath": "c"} x)"),
        std::string("{\"audio_filepath\": \"\xFF.wav\"}"),
        std::string(R"({"audio_filepath": "c.wav", "duration": NaN})"),
        std::string(R"({"audio_filepath": "c.wav", "duration": -1})"),
        std::string(R"({"audio_filepath": "c.wav", "duration": 0})"),
        std::string(R"({"audio_filepath": "c.wav", "duration": "3"})"),
        std::string(R"({"audio_filepath": "c.wav", "duration": 1e999})"),
        std::string(R"({"audio_filepath": "c.wav", "duration": true})"),
        std::string(R"({"audio_filepath": "c.wav", "offset": -0.5})"),
        R"({"audio_filepath": ")" + std::string(250, 'x') + R"("})",
        R"({"audio_filepath": "c.wav", "text": ")" + std::string(70000, 'x') + R"("})"}) {
    expect_bad_row("list.jsonl", "", good, odd, last, 2);
    // What is no row where rows are lines may be several elements of an array.
    if (odd == "c.wav" || odd == "# c.wav" || odd.ends_with(" x")) continue;
    expect_bad_row("list.json", "[\n", good + ",", odd + ",", last + "\n]", 3);
    if (odd.ends_with("c.wa")) continue;
    expect_bad_row("list.json", "[", good + ",", odd + ",", last + "]", 2);
  }
}

TEST_F(Manifest, RefusesWhatIsNoRegularFile) {
  EXPECT_THROW(paths_in(folder_), UsageError);
  EXPECT_THROW(paths_in(folder_ + "missing"), UsageError);
  std::string longer_than_paths_are = "/";
  while (longer_than_paths_are.size() < 5000) longer_than_paths_are += "folder/";
  EXPECT_THROW(paths_in(longer_than_paths_are + "list.txt"), UsageError);
  EXPECT_THROW(paths_in("/dev/zero"), UsageError);
  ASSERT_EQ(::mkfifo((folder_ + "fifo").c_str(), 0600), 0);
  EXPECT_THROW(paths_in(folder_ + "fifo"), UsageError);
}

TEST_F(Manifest, ReadsFairseqsTsv) {
  EXPECT_THAT(paths_of("/data\na/b c.wav\t16000\n\n/other/d.wav\t5\r\n", "train.tsv"),
              ElementsAre("/data/a/b c.wav", "/other/d.wav"));
  EXPECT_THAT(paths_of("data/\na.wav\t1\n", "train.tsv"), ElementsAre(folder_ + "data/a.wav"));
  EXPECT_THAT(paths_of(".\na.wav\t1\n", "train.tsv"), ElementsAre(folder_ + "./a.wav"));
  EXPECT_THAT(paths_of("/data\na.wav\nb.wav\t1\t2\nc.wav\t-1\nd.wav\tx\ne.wav\t1\n", "train.tsv"),
              ElementsAre("/data/e.wav"));
  EXPECT_THAT(bad_rows_, ElementsAre(HasSubstr("line 2: has 1 fields"), HasSubstr("line 3: has 3"),
                                     HasSubstr("line 4: \"-1\""), HasSubstr("line 5: \"x\"")));
  EXPECT_THAT(paths_of("/data\n\t88\n \t88\ne.wav\t1\n", "train.tsv"), ElementsAre("/data/e.wav"));
  EXPECT_THAT(bad_rows_,
              ElementsAre(HasSubstr("line 2: has no path"), HasSubstr("line 3: has no path")));
  EXPECT_THAT(error_of("/data\n", "train.tsv"), HasSubstr("is empty"));
}

TEST_F(Manifest, RefusesATsvWithoutARootOrAPath) {
  EXPECT_THAT(error_of("a.wav\t16000\n", "train.tsv"), HasSubstr("line 1: is neither"));
  EXPECT_THAT(error_of("id\tsentence\n1\tx\n", "train.tsv"), HasSubstr("line 1: is neither"));
}

TEST_F(Manifest, FindsTheClipsOfCommonVoice) {
  // Quotes are bytes of the sentences.
  EXPECT_THAT(paths_of("client_id\tpath\tsentence\tup_votes\r\n1f\ta.mp3\t\"Hello,\t2\r\n"
                       "2e\tb.mp3\t\t\n",
                       "validated.tsv"),
              ElementsAre(folder_ + "clips/a.mp3", folder_ + "clips/b.mp3"));
  EXPECT_THAT(paths_of("path\tsentence\na.mp3\tHello\n", "other.tsv"),
              ElementsAre(folder_ + "a.mp3"));
}

TEST_F(Manifest, ReadsTablesAsPythonsCsv) {
  EXPECT_THAT(paths_of("\xEF\xBB\xBF"
                       "text,file_name\r\n\"Hello, \"\"you\"\"\r\nand me\",a.wav\r\n"
                       ",\"b, c.wav\"\r\n\r\n\"\",/d.wav",
                       "metadata.csv"),
              ElementsAre(folder_ + "a.wav", folder_ + "b, c.wav", "/d.wav"));
  EXPECT_THAT(bad_rows_, IsEmpty());
  EXPECT_THAT(paths_of("file_name\na.wav\n", "metadata.csv"), ElementsAre(folder_ + "a.wav"));
  EXPECT_THAT(error_of("text,speaker\nx,y\n", "metadata.csv"),
              HasSubstr("line 1: is no header with a path"));
  EXPECT_THAT(error_of("file_name,text\n", "metadata.csv"), HasSubstr("is empty"));
  EXPECT_THAT(paths_of("file_name;text\n\"/a;1.wav\";x, y\n", "m.csv"), ElementsAre("/a;1.wav"));
  EXPECT_THAT(paths_of("file_name\ttext\n/a.wav\tx, y\n", "m.csv"), ElementsAre("/a.wav"));
}

TEST_F(Manifest, ReadsTheSegmentsOfATable) {
  const auto segments_of = [&](const std::string& content, const std::string& name) {
    std::ofstream(folder_ + name, std::ios::binary) << content;
    InputList list("/");
    read_manifest(folder_ + name, std::nullopt, list);
    std::vector<std::string> segments;
    for (std::size_t i = 0; i < list.size(); ++i) {
      const auto segment = list.segment(i);
      segments.push_back(segment ? std::to_string(segment->offset_seconds) + " " +
                                       std::to_string(segment->duration_seconds) +
                                       (segment->has_offset ? "" : " from the start")
                                 : "whole");
    }
    return segments;
  };
  for (const auto& [name, comma] : {std::pair{"list.csv", ","}, {"list.tsv", "\t"}}) {
    const auto rows = [&, by = std::string(comma)](std::string content) {
      for (char& byte : content) {
        if (byte == ',') byte = by[0];
      }
      return content;
    };
    EXPECT_THAT(segments_of(rows("path,offset,duration\n/a.wav,0.5,2\n/b.wav,1,\n/c.wav,,1.5\n"
                                 "/d.wav, ,\n"),
                            name),
                ElementsAre("0.500000 2.000000", "1.000000 0.000000",
                            "0.000000 1.500000 from the start", "whole"));
    EXPECT_THAT(segments_of(rows("offset,file_name\n3,/a.wav\n"), name),
                ElementsAre("3.000000 0.000000"));
    // Its unit is not told.
    EXPECT_THAT(segments_of(rows("path,duration\n/a.wav,12345\n"), name), ElementsAre("whole"));
    for (const char* odd : {"/x.wav,-1,2", "/x.wav,nan,2", "/x.wav,1,0", "/x.wav,1,1e30",
                            "/x.wav,0:30,2", "/x.wav,1,x"}) {
      expect_bad_row(name, rows("path,offset,duration\n"), rows("/a.wav,0,1"), rows(odd),
                     rows("/b.wav,0,1"), 3);
    }
  }
}

TEST_F(Manifest, NamesJsonInAPlainList) {
  for (const char* first :
       {"{\"audio_filepath\": \"a.wav\"}", "{ \"path\": 1}", "[{\"path\": 1}]"}) {
    EXPECT_THAT(error_of(std::string("\n") + first + "\n"),
                AllOf(HasSubstr("line 2: begins as JSON"), HasSubstr("--manifest-format jsonl")));
  }
  EXPECT_THAT(paths_of("{a}.wav\n{\"b.wav\n"),
              ElementsAre(folder_ + "{a}.wav", folder_ + "{\"b.wav"));
}

TEST_F(Manifest, TakesAListForAListWhateverItsEnding) {
  EXPECT_THAT(paths_of("/a.wav\n/b.wav\n", "files.csv"), ElementsAre("/a.wav", "/b.wav"));
  InputList list("/");
  EXPECT_THAT(message_of<UsageError>(
                  [&] { read_manifest(folder_ + "files.csv", ManifestFormat::csv, list); }),
              HasSubstr("is no header"));
}

// A quote that nobody closes could make all that follows one field.
TEST_F(Manifest, FindsTheRowsBehindAnOpenQuote) {
  std::string rows = "file_name,text\n";
  for (int i = 0; i < 3000; ++i) {
    rows += "/" + std::to_string(i) + ".wav," + (i % 1000 == 500 ? "\"x" : "x") + "\n";
  }
  EXPECT_THAT(paths_of(rows, "metadata.csv"), SizeIs(2997));
  EXPECT_THAT(bad_rows_, ElementsAre(HasSubstr("line 502:"), HasSubstr("line 1502:"),
                                     HasSubstr("line 2502:")));
}

TEST_F(Manifest, ReadsNemosJsonLines) {
  std::ofstream(folder_ + "m.jsonl")
      << R"({"audio_filepath": "a.wav", "duration": 3.2, "text": "x", "lang": ["de"]})"
      << "\n"
      << R"({"audio_filepath": "/b.wav", "offset": 1.5, "duration": 2})"
      << "\n"
      << R"({"audio_filepath": "\u00e4.wav", "offset": 0, "duration": null})"
      << "\n"
      << R"({"audio_filepath": "c.wav", "offset": null})"
      << "\n";
  InputList list("/");
  read_manifest(folder_ + "m.jsonl", ManifestFormat::jsonl, list);
  ASSERT_EQ(list.size(), 4U);
  EXPECT_EQ(list.path(0), folder_ + "a.wav");
  EXPECT_EQ(list.segment(0)->offset_seconds, 0);
  EXPECT_EQ(list.segment(0)->duration_seconds, 3.2);
  EXPECT_FALSE(list.segment(0)->has_offset);
  EXPECT_EQ(list.segment(1)->offset_seconds, 1.5);
  EXPECT_EQ(list.segment(1)->duration_seconds, 2);
  EXPECT_TRUE(list.segment(1)->has_offset);
  EXPECT_EQ(list.path(2), folder_ + "\xC3\xA4.wav");
  EXPECT_EQ(list.segment(2)->duration_seconds, 0);
  EXPECT_FALSE(list.segment(3));
}

TEST_F(Manifest, ReadsNamesThatAreNotUtf8AsPythonWritesThem) {
  // json.dumps(os.fsdecode(b"caf\xe9.wav")), and a text that was cut.
  const std::string row = R"({"audio_filepath": "/caf\udce9.wav", "text": "\ud83d", "x": NaN})";
  EXPECT_THAT(paths_of(row + "\n", "a.jsonl"), ElementsAre("/caf\xE9.wav"));
  EXPECT_THAT(paths_of("[" + row + "]", "a.json"), ElementsAre("/caf\xE9.wav"));
  EXPECT_THAT(bad_rows_, IsEmpty());
}

TEST_F(Manifest, ReadsAnArrayOfObjectsHoweverItIsLaidOut) {
  const std::string a =
      R"({"audio_filepath": "/a.wav", "text": "x, ] } \" \\", "n": [1, {"k": 2}]})";
  const std::string b = R"({"file_name": "/b.wav"})";
  const std::string pretty =
      "{\n  \"audio_filepath\":\n    \"/a.wav\",\n  \"words\": [\n    {\n"
      "      \"word\": \"x\"\n    },\n    {\n      \"word\": \"y\"\n    }\n"
      "  ]\n}";
  for (const std::string& text :
       {"[" + a + ", " + b + "]", "\xEF\xBB\xBF \r\n[" + a + "," + b + "]\n",
        "[\n" + pretty + ",\r\n" + b + "\n]\n", "[" + a + "\n,\n" + b + "\n]",
        "[" + pretty + "," + b + "]"}) {
    EXPECT_THAT(paths_of(text, "list.json"), ElementsAre("/a.wav", "/b.wav")) << text;
    EXPECT_THAT(bad_rows_, IsEmpty()) << text;
  }
}

TEST_F(Manifest, TellsWhereATornArrayLosesRows) {
  const std::string a = R"({"audio_filepath": "/a.wav"})";
  const std::string b = R"({"audio_filepath": "/b.wav"})";
  // A closing brace is missing, then a closing quote.
  for (const std::string torn : {R"({"audio_filepath": "c.wav",)", R"({"audio_filepath": "c.wav,)",
                                 R"({"audio_filepath": ["c.wav"},)"}) {
    EXPECT_THAT(paths_of("[\n" + a + ",\n" + torn + "\n" + b + "\n]", "list.json"),
                ElementsAre("/a.wav", "/b.wav"))
        << torn;
    EXPECT_THAT(bad_rows_, ElementsAre(HasSubstr("line 3, row 2"))) << torn;
  }
  EXPECT_THAT(paths_of("[" + a + ",\n" + b + ",\n", "list.json"), ElementsAre("/a.wav", "/b.wav"));
  EXPECT_THAT(bad_rows_, ElementsAre(HasSubstr("the array has no end")));
  EXPECT_THAT(paths_of("[" + a + ",\n{\"audio_filepath\": ", "list.json"), ElementsAre("/a.wav"));
  EXPECT_THAT(bad_rows_, ElementsAre(HasSubstr("line 2, row 2: does not end"),
                                     HasSubstr("the array has no end")));
  EXPECT_THAT(paths_of("[1]\n" + a + "\n" + b + "\n", "list.jsonl"),
              ElementsAre("/a.wav", "/b.wav"));
  EXPECT_THAT(bad_rows_, ElementsAre(HasSubstr("line 1, row 1")));
}

TEST_F(Manifest, ReadsArraysThatAreLongerThanABlock) {
  std::string text = "[";
  for (int i = 0; i < 20'000; ++i) {
    text += (i == 0 ? "" : ", ") + std::string(R"({"audio_filepath": "/)") + std::to_string(i) +
            R"(.wav"})";
  }
  EXPECT_THAT(paths_of(text + "]", "list.json"), SizeIs(20'000));
  EXPECT_THAT(bad_rows_, IsEmpty());
}

TEST_F(Manifest, FindsTheHomeDirectory) {
  const char* before = std::getenv("HOME");
  const std::string home = before ? before : "";
  ::setenv("HOME", "/home/me", 1);
  EXPECT_THAT(paths_of("~/a.wav\n./~/b.wav\n~c/d.wav\n"),
              ElementsAre("/home/me/a.wav", folder_ + "./~/b.wav", folder_ + "~c/d.wav"));
  EXPECT_THAT(paths_of("~/data\na.wav\t1\n", "train.tsv"), ElementsAre("/home/me/data/a.wav"));
  EXPECT_THAT(paths_of("file_name,x\n~/a.wav,\n", "m.csv"), ElementsAre("/home/me/a.wav"));
  EXPECT_THAT(paths_of("client_id\tpath\n1\t~/a.wav\n", "v.tsv"), ElementsAre("/home/me/a.wav"));
  EXPECT_THAT(paths_of(R"({"audio_filepath": "~/a.wav"})", "m.jsonl"),
              ElementsAre("/home/me/a.wav"));
  EXPECT_THAT(paths_of("utt ~/a.wav\n", "wav.scp"), ElementsAre("/home/me/a.wav"));
  ::unsetenv("HOME");
  EXPECT_THAT(paths_of("~/a.wav\n"), ElementsAre(folder_ + "~/a.wav"));
  if (before) ::setenv("HOME", home.c_str(), 1);
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
}

TEST_F(Manifest, TellsFormatsByTheEnding) {
  EXPECT_EQ(manifest_format_of("a/train.tsv"), ManifestFormat::tsv);
  EXPECT_EQ(manifest_format_of("metadata.csv"), ManifestFormat::csv);
  EXPECT_EQ(manifest_format_of("a.jsonl"), ManifestFormat::jsonl);
  EXPECT_EQ(manifest_format_of("a.json"), ManifestFormat::jsonl);
  EXPECT_EQ(manifest_format_of("wav.scp"), ManifestFormat::scp);
  EXPECT_EQ(manifest_format_of("a.JSONL.GZ"), ManifestFormat::jsonl);
  EXPECT_EQ(manifest_format_of("data/segments"), ManifestFormat::segments);
  EXPECT_EQ(manifest_format_of("data/segments.gz"), ManifestFormat::segments);
  EXPECT_EQ(manifest_format_of("TRAIN.TSV"), ManifestFormat::tsv);
  EXPECT_EQ(manifest_format_of("a.Jsonl"), ManifestFormat::jsonl);
  EXPECT_EQ(manifest_format_of("-"), ManifestFormat::list);
}

std::string gzipped(const std::string& text) {
  std::string out(text.size() + 1000, '\0');
  z_stream stream = {};
  EXPECT_EQ(
      deflateInit2(&stream, Z_BEST_COMPRESSION, Z_DEFLATED, 16 + MAX_WBITS, 8, Z_DEFAULT_STRATEGY),
      Z_OK);
  std::string in = text;
  stream.next_in = reinterpret_cast<Bytef*>(in.data());
  stream.avail_in = static_cast<uInt>(in.size());
  stream.next_out = reinterpret_cast<Bytef*>(out.data());
  stream.avail_out = static_cast<uInt>(out.size());
  EXPECT_EQ(deflate(&stream, Z_FINISH), Z_STREAM_END);
  out.resize(stream.total_out);
  deflateEnd(&stream);
  return out;
}

TEST_F(Manifest, TakesWhatIsCompressed) {
  const std::string rows = "{\"audio_filepath\": \"/a.wav\"}\n{\"audio_filepath\": \"/b.wav\"}\n";
  EXPECT_THAT(paths_of(gzipped(rows), "list.jsonl.gz"), ElementsAre("/a.wav", "/b.wav"));
  EXPECT_THAT(paths_of(gzipped(rows), "list.jsonl"), ElementsAre("/a.wav", "/b.wav"));
  EXPECT_THAT(paths_of(gzipped("\xEF\xBB\xBF/a.wav\n/b.wav"), "list.gz"),
              ElementsAre("/a.wav", "/b.wav"));
  // Several members, as `cat` puts them together, and zeros behind them.
  EXPECT_THAT(paths_of(gzipped("/a.wav\n") + gzipped("/b.wav\n") + std::string(100, '\0')),
              ElementsAre("/a.wav", "/b.wav"));
  // More than one block comes out, and more than one goes in.
  std::string many;
  std::mt19937 random(5);
  for (int i = 0; i < 30000; ++i) many += "/" + std::to_string(random()) + ".wav\n";
  const std::string compressed = gzipped(many);
  ASSERT_GT(compressed.size(), 2U * 65536);
  EXPECT_EQ(paths_of(compressed), paths_of(many));
  EXPECT_THAT(paths_of(gzipped("/a.wav\n" + std::string(1 << 20, '\n') + "/b.wav\n")),
              ElementsAre("/a.wav", "/b.wav"));
}

TEST_F(Manifest, RefusesCompressedDataThatAreDamaged) {
  const std::string whole = gzipped("/a.wav\n/b.wav\n");
  for (std::size_t size = 2; size < whole.size(); ++size) {
    EXPECT_THAT(error_of(whole.substr(0, size)), HasSubstr("is truncated")) << size;
  }
  std::string damaged = whole;
  damaged[damaged.size() - 6] ^= 1;  // its sum
  EXPECT_THAT(error_of(damaged), HasSubstr("is damaged"));
  EXPECT_THAT(error_of(whole + "more"), HasSubstr("is damaged"));
  EXPECT_THAT(error_of(gzipped("")), HasSubstr("is empty"));
  EXPECT_THAT(error_of(gzipped(std::string(100, '\1'))), HasSubstr("is no text file"));
}

TEST_F(Manifest, ReadsCutsOfLhotseByTheirIds) {
  const auto cut = [](const std::string& id, const std::string& channel) {
    return R"({"id": ")" + id + R"(", "start": 0.5, "duration": 1, "channel": )" + channel +
           R"(, "recording": {"id": "r", "sources": [{"type": "file", "channels": [0, 1], )"
           R"("source": "a/b.wav"}], "sampling_rate": 16000, "num_samples": 48000}, )"
           R"("type": "MonoCut"})"
           "\n";
  };
  std::ofstream(folder_ + "cuts.jsonl.gz", std::ios::binary)
      << gzipped(cut("x", "0") + R"({"id": "m", "tracks": [], "type": "MixedCut"})" + "\n" +
                 cut("y", "1") + "{\"audio_filepath\": \"c.wav\"}\n" + cut("z", "[0, 1]"));
  InputList list("/");
  read_manifest(folder_ + "cuts.jsonl.gz", std::nullopt, list);
  list.finish();
  ASSERT_EQ(list.size(), 3U);
  EXPECT_EQ(list.path(0), folder_ + "a/b.wav");
  EXPECT_EQ(list.name(0), "x-ch1");
  EXPECT_EQ(list.channel(0), 1);
  EXPECT_EQ(list.name(1), "y-ch2");
  EXPECT_EQ(list.channel(1), 2);
  EXPECT_EQ(list.name(2), "z");
  EXPECT_EQ(list.channel(2), std::nullopt);
  EXPECT_EQ(list.segment(2)->offset_seconds, 0.5);
  ASSERT_EQ(list.bad_rows().size(), 2U);
  EXPECT_EQ(list.bad_rows()[0].place, "line 2");
  EXPECT_THAT(list.bad_rows()[0].problem, HasSubstr("is a mix of several cuts"));
  EXPECT_THAT(list.bad_rows()[1].problem, HasSubstr("has no name, as the rows before have one"));
  // A cut's own channel stays where each one becomes a clip.
  list = InputList("/");
  read_manifest(folder_ + "cuts.jsonl.gz", std::nullopt, list);
  list.split_channels([](std::size_t) { return 2; });
  list.finish();
  ASSERT_EQ(list.size(), 4U);
  EXPECT_EQ(list.name(0), "x-ch1");
  EXPECT_EQ(list.name(1), "y-ch2");
  EXPECT_EQ(list.name(2), "z-ch1");
  EXPECT_EQ(list.name(3), "z-ch2");
}

// Nothing for the others, and where nobody asks.
TEST_F(Manifest, KeepsWhatRowsSayIsSaid) {
  using Texts = std::vector<std::optional<std::string>>;
  const auto texts_of = [&](const std::string& content, const std::string& name) {
    std::ofstream(folder_ + name, std::ios::binary) << content;
    InputList list("/"), forgetful("/");
    list.keep_texts();
    read_manifest(folder_ + name, std::nullopt, list);
    read_manifest(folder_ + name, std::nullopt, forgetful);
    Texts texts;
    for (std::size_t i = 0; i < list.size(); ++i) {
      texts.push_back(list.text(i));
      EXPECT_EQ(forgetful.text(i), std::nullopt);
    }
    return texts;
  };
  EXPECT_EQ(texts_of("file_name,transcription\n/a.wav,\"one, two\"\n/b.wav,\n", "a.csv"),
            (Texts{"one, two", ""}));
  EXPECT_EQ(texts_of("client_id\tpath\tsentence\nx\t/a.wav\tsaid\n", "a.tsv"), (Texts{"said"}));
  EXPECT_EQ(
      texts_of("{\"audio_filepath\": \"/a.wav\"}\n"
               "{\"audio_filepath\": \"/b.wav\", \"text\": \"b\\u00e9\", \"sentence\": \"c\"}\n"
               "{\"audio_filepath\": \"/c.wav\", \"text\": null}\n",
               "a.jsonl"),
      (Texts{std::nullopt, "b\u00E9", std::nullopt}));
  EXPECT_EQ(texts_of(R"([{"id": "c", "type": "MonoCut", "channel": 0, "start": 0, "duration": 1,
      "supervisions": [{"text": "one"}, {"speaker": "x"}, {"text": "two"}], "recording": {"id": "r",
      "sampling_rate": 16000, "num_samples": 16000, "sources": [{"type": "file", "channels": [0],
      "source": "/a.wav"}]}}])",
                     "cuts.jsonl"),
            (Texts{"one two"}));
  EXPECT_EQ(texts_of("/a.wav\n", "a.txt"), (Texts{std::nullopt}));
}

TEST_F(Manifest, ReadsKaldisSegmentsOfTheRecordingsBesideThem) {
  std::ofstream(folder_ + "wav.scp")
      << "r1 a b.wav\nr2 sox x.mp3 -t wav - |\nr3 /c.wav\nr4 x.ark:1234[0:9]\n";
  EXPECT_THAT(paths_of("u1 r1 0.5 1.75\nu2  r3\t0 -1\nu3 r3 1 2 1\n", "segments"),
              ElementsAre(folder_ + "a b.wav", "/c.wav", "/c.wav"));
  InputList list("/");
  read_manifest(folder_ + "segments", std::nullopt, list);
  list.finish();
  EXPECT_EQ(list.name(0), "u1");
  EXPECT_EQ(list.segment(0)->offset_seconds, 0.5);
  EXPECT_EQ(list.segment(0)->duration_seconds, 1.25);
  EXPECT_EQ(list.segment(1)->duration_seconds, 0);
  EXPECT_EQ(list.channel(1), std::nullopt);
  EXPECT_EQ(list.name(2), "u3-ch2");
  for (const auto& [row, problem] : std::vector<std::pair<std::string, std::string>>{
           {"u r9 0 1", "which the wav.scp does not have"},
           {"u r2 0 1", "is a command"},
           {"u r4 0 1", "which is a range of an entry"},
           {"u r1 1 1", "is no segment"},
           {"u r1 2 1", "is no segment"},
           {"u r1 -1 1", "is no segment"},
           {"u r1 0 nan", "is no segment"},
           {"u r1 0 -2", "is no segment"},
           {"u r1 0", "has 3 fields"},
           {"u r1 0 1 0 0", "has 6 fields"},
           {"u r1 0 1 64", "is no channel"},
           {"u r1 0 1 x", "is no channel"}}) {
    paths_of(row + "\ngood r3 0 1\n", "segments");
    EXPECT_THAT(bad_rows_, ElementsAre(HasSubstr(problem))) << row;
  }
  std::filesystem::remove(folder_ + "wav.scp");
  EXPECT_THAT(error_of("u1 r1 0 1\n", "segments"), HasSubstr("wav.scp: No such file"));
}

TEST_F(Manifest, FindsPlacesInArchivesOfKaldi) {
  const std::string rows =
      "a x.ark:12\nb /b.wav\nc /d.ark\ne /f.ark:g\nf /x:y.ark:0\ng /h.ark:5[0:10]\ni /j[1]\n";
  EXPECT_THAT(paths_of(rows, "wav.scp"), ElementsAre(folder_ + "x.ark:12", "/b.wav", "/d.ark",
                                                     "/f.ark:g", "/x:y.ark:0", "/j[1]"));
  EXPECT_THAT(bad_rows_, ElementsAre(HasSubstr("line 6: is a range of an entry")));
  InputList list("/work");
  read_manifest(folder_ + "wav.scp", {}, list);
  const InputPlace place = list.place(0);
  EXPECT_EQ(place.member->kind, Member::Kind::wav);
  EXPECT_EQ(place.path_on_disk(), folder_ + "x.ark");
  EXPECT_EQ(place.member->begin, 12U);
  EXPECT_EQ(list.place(4).path_on_disk(), "/x:y.ark");
  EXPECT_FALSE(list.place(1).member);
  EXPECT_FALSE(list.place(3).member);
  // In other lists a colon is a part of the name.
  EXPECT_THAT(paths_of("/x.ark:12\n", "list.txt"), ElementsAre("/x.ark:12"));
  list = InputList("/work");
  read_manifest(folder_ + "list.txt", {}, list);
  EXPECT_FALSE(list.place(0).member);
}

}  // namespace
}  // namespace w2vbert::tool::testing
