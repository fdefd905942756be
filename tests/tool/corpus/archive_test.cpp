#include "tool/corpus/archive.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <zlib.h>

#include <array>
#include <cstdio>
#include <stdexcept>
#include <string>
#include <vector>

#include "support/error_message.h"
#include "support/temporary_directory.h"
#include "support/text_file.h"
#include "tool/corpus/wav_entry.h"
#include "w2vbert/core/error.h"

namespace w2vbert::tool::testing {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using w2vbert::testing::TemporaryDirectory;
using w2vbert::testing::write_text;

constexpr std::size_t kBlock = 512;

// POSIX.1-1988's header of a tar.
std::string header_of(const std::string& name, std::uint64_t bytes, char kind) {
  std::string header(kBlock, '\0');
  const auto put = [&](std::size_t at, const std::string& text) {
    header.replace(at, text.size(), text);
  };
  const auto octal = [](std::uint64_t value) {
    std::array<char, 16> digits{};
    std::snprintf(digits.data(), digits.size(), "%011llo", static_cast<unsigned long long>(value));
    return std::string(digits.data());
  };
  put(0, name);
  put(100, "0000644");
  put(124, octal(bytes));
  put(136, octal(0));
  header[156] = kind;
  if (kind == '1' || kind == '2') put(157, "0.wav");
  put(257, std::string("ustar\00000", 8));
  put(148, std::string(8, ' '));
  unsigned sum = 0;
  for (const char byte : header) sum += static_cast<unsigned char>(byte);
  put(148, octal(sum).substr(5));
  header[154] = '\0';
  return header;
}

std::string entry_of(const std::string& name, const std::string& content, char kind = '0') {
  std::string entry = header_of(name, content.size(), kind) + content;
  entry.resize((entry.size() + kBlock - 1) / kBlock * kBlock);
  return entry;
}

const std::string kEnd(2 * kBlock, '\0');

std::string gzip(const std::string& text, int level = 6) {
  std::string packed(text.size() + 1000, '\0');
  z_stream stream{};
  deflateInit2(&stream, level, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY);
  stream.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(text.data()));
  stream.avail_in = static_cast<uInt>(text.size());
  stream.next_out = reinterpret_cast<Bytef*>(packed.data());
  stream.avail_out = static_cast<uInt>(packed.size());
  deflate(&stream, Z_FINISH);
  packed.resize(stream.total_out);
  deflateEnd(&stream);
  return packed;
}

class Archives : public ::testing::Test {
 protected:
  void SetUp() override {
    if (!is_built_with_libarchive()) GTEST_SKIP() << "this build has no libarchive";
  }

  InputList list_of(const std::string& name, const std::string& content) {
    write_text(directory_ / name, content);
    InputList list("/work");
    ArchiveLister lister(list);
    lister.add(directory_ / name);
    lister.finish();
    return list;
  }

  TemporaryDirectory directory_;
};

std::vector<std::string> names_of(InputList& list) {
  list.finish();
  std::vector<std::string> names;
  for (std::size_t i = 0; i < list.size(); ++i) names.push_back(list.name(i));
  return names;
}

std::vector<std::string> problems_of(const InputList& list) {
  std::vector<std::string> problems;
  for (const BadRow& row : list.bad_rows()) problems.push_back(row.path + ": " + row.problem);
  return problems;
}

TEST(ArchiveNames, AreToldByTheirEnding) {
  for (const char* name :
       {"a.tar", "x/b.TAR.GZ", "c.tgz", "d.tar.zst", "e.tar.bz2", "f.tar.xz", "a.b.tar"}) {
    EXPECT_TRUE(has_archive_name(name)) << name;
  }
  for (const char* name : {"a.wav", ".tar", "x/.tar", "tar", "a.tar/b", "a.gz", "a.tar.wav", ""}) {
    EXPECT_FALSE(has_archive_name(name)) << name;
  }
}

TEST_F(Archives, AreListedByKeysAndReadWhereTheyLie) {
  const std::string tar = entry_of("part/0.a.wav", "first") + entry_of("part/0.json", "{}") +
                          entry_of("./1.flac", "second") + entry_of("._1.flac", "of a Mac") + kEnd;
  for (const bool is_packed : {false, true}) {
    InputList list = list_of(is_packed ? "a.tar.gz" : "a.tar", is_packed ? gzip(tar) : tar);
    EXPECT_THAT(names_of(list), ElementsAre("part/0", "1"));
    EXPECT_THAT(list.notes(), ElementsAre("members of tars passed over: 1 .json, 1 hidden"));
    EXPECT_THAT(problems_of(list), ElementsAre());
    EXPECT_EQ(list.are_packed_together(0, 1), is_packed);
    InputOpener opener;
    int blocks = 0;
    // Backwards as well: a compressed tar is begun again.
    for (const std::size_t i : {0, 1, 0}) {
      const InputFile file = opener.open(list.place(i), [&] { ++blocks; });
      EXPECT_EQ(read_whole(file, 100), i == 0 ? "first" : "second");
      EXPECT_EQ(file.path(), list.path(i));
    }
    EXPECT_EQ(blocks > 0, is_packed);  // of the tar; a plain member is read by who opens it
    struct Stop : std::runtime_error {
      using std::runtime_error::runtime_error;
    };
    if (is_packed) {
      InputOpener other;
      EXPECT_THROW(other.open(list.place(1), [] { throw Stop("stop"); }), Stop);
      EXPECT_EQ(read_whole(other.open(list.place(1)), 100), "second");
    }
    // Another tar in its place has other bytes there.
    write_text(directory_ / (is_packed ? "a.tar.gz" : "a.tar"),
               is_packed ? gzip(tar + tar) : tar + tar);
    EXPECT_THAT(message_of<AudioError>([&] { opener.open(list.place(0)); }),
                HasSubstr("another process has changed"));
  }
}

TEST_F(Archives, BadMembersCostThemselves) {
  InputList list = list_of(
      "a.tar", entry_of("0.wav", "good") + entry_of("../up.wav", "x") + entry_of("a//b.wav", "x") +
                   entry_of("/root.wav", "x") + entry_of("link.wav", "", '2') +
                   entry_of("hard.wav", "", '1') + entry_of("pipe.wav", "", '6') +
                   entry_of("folder.wav/", "", '5') + entry_of("1.wav", "good") + kEnd);
  EXPECT_THAT(problems_of(list),
              ElementsAre(HasSubstr("a.tar/../up.wav: has a name that leads out"),
                          HasSubstr("b.wav: has a name that leads out"),
                          HasSubstr("root.wav: has a name that leads out"),
                          HasSubstr("link.wav: is a link"), HasSubstr("hard.wav: is a link"),
                          HasSubstr("pipe.wav: is no file")));
  EXPECT_THAT(names_of(list), ElementsAre("0", "1"));
}

TEST_F(Archives, WhatIsCutOrDamagedIsReportedBehindWhatIsThere) {
  const std::string first = entry_of("0.wav", std::string(1000, 'a'));
  const std::string second = entry_of("1.wav", std::string(1000, 'b'));
  const std::string whole = first + second + kEnd;
  InputList cut = list_of("cut.tar", whole.substr(0, first.size() + kBlock + 300));
  EXPECT_THAT(problems_of(cut)[0], HasSubstr("1.wav: is cut: 300 of its 1000 bytes are there"));
  EXPECT_THAT(names_of(cut), ElementsAre("0"));
  std::string changed = whole;
  changed[first.size() + 3] ^= 0x7f;
  InputList damaged = list_of("bad.tar", changed);
  EXPECT_THAT(problems_of(damaged), ElementsAre(HasSubstr("behind 1 members that are there")));
  EXPECT_THAT(names_of(damaged), ElementsAre("0"));
  InputList endless = list_of("endless.tar", first + second);
  EXPECT_THAT(names_of(endless), ElementsAre("0", "1"));
  EXPECT_THAT(endless.notes(), ElementsAre(HasSubstr("has no end mark")));
  InputList both = list_of("both.tar", first + kEnd + second + kEnd);
  EXPECT_THAT(names_of(both), ElementsAre("0", "1"));
  EXPECT_THAT(both.notes(), ElementsAre());
  const std::string packed = gzip(whole);
  InputList half = list_of("half.tar.gz", packed.substr(0, packed.size() - 20));
  EXPECT_THAT(problems_of(half), ElementsAre(HasSubstr("is truncated: its gzip data do not end")));
  EXPECT_THAT(names_of(half), ElementsAre("0"));
  // A changed byte that its checksum alone shows may be in any member.
  std::string stored = gzip(whole, 0);
  stored[kBlock + 100] ^= 1;
  InputList flipped = list_of("flipped.tar.gz", stored);
  EXPECT_THAT(problems_of(flipped),
              ElementsAre(HasSubstr("is damaged: its gzip data end in an error")));
  EXPECT_THAT(names_of(flipped), ElementsAre());
  const std::size_t middle = whole.size() / 2;
  InputList pieces =
      list_of("pieces.tar.gz",
              gzip(whole.substr(0, middle)) + gzip(whole.substr(middle)) + std::string(700, '\0'));
  EXPECT_THAT(problems_of(pieces), ElementsAre());
  EXPECT_THAT(names_of(pieces), ElementsAre("0", "1"));
  for (const std::string& content :
       {std::string(), std::string("no tar"), std::string(2000, 'x')}) {
    InputList none = list_of("none.tar", content);
    EXPECT_THAT(problems_of(none), ElementsAre(HasSubstr("none.tar: ")));
  }
  InputList huge = list_of("huge.tar", header_of("0.wav", 07777777777ULL, '0') + "little");
  EXPECT_THAT(problems_of(huge)[0], HasSubstr("0.wav: is cut: 6 of its 1073741823 bytes"));
}

std::string wav_of(const std::string& chunks) {
  return "RIFF" + std::string(4, '\xff') + "WAVE" + chunks;
}

TEST(WavEntries, EndWhereTheirAudioDoes) {
  const TemporaryDirectory directory;
  const std::string data("data\x05\0\0\0hello", 13);
  const std::string good = wav_of(std::string("LIST\x03\0\0\0abc\0", 12) + data);
  const auto bytes_at = [&](const std::string& ark, std::uint64_t at) {
    write_text(directory / "a.ark", ark);
    return wav_entry_bytes(InputFile::open<AudioError>(directory / "a.ark"), at, "a.ark:0");
  };
  EXPECT_EQ(bytes_at("key " + good + "next RIFF", 4), good.size());
  const auto problem = [&](const std::string& ark, std::uint64_t at) {
    return message_of<AudioError>([&] { bytes_at(ark, at); });
  };
  EXPECT_THAT(problem("key " + good, 3), HasSubstr("no place where a WAV file begins"));
  EXPECT_THAT(problem(good, good.size()), HasSubstr("a place behind the archive's 37 bytes"));
  EXPECT_THAT(problem(good, ~std::uint64_t{0}), HasSubstr("a place behind"));
  EXPECT_THAT(problem(good.substr(0, good.size() - 1), 0),
              HasSubstr("is cut: its data of 5 bytes has 4"));
  EXPECT_THAT(problem(wav_of(""), 0), HasSubstr("has no data chunk"));
  for (const std::string& size :
       {std::string(4, '\xff'), std::string(4, '\0'), std::string("\0\xf0\xff\x7f", 4)}) {
    EXPECT_THAT(problem(wav_of("data" + size + "hello"), 0),
                HasSubstr("does not say how long it is"));
  }
}

}  // namespace
}  // namespace w2vbert::tool::testing
