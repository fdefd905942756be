#include "tool/store/journal.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/resource.h>
#include <unistd.h>

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "core/host_name.h"
#include "support/raw_safetensors.h"
#include "support/temporary_directory.h"
#include "w2vbert/core/error.h"

namespace w2vbert::tool::testing {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;
using ::testing::SizeIs;
using ::testing::UnorderedElementsAre;

// All that a journal says.
struct JournalRead {
  explicit JournalRead(const std::string& path) {
    read_journal(
        path, [this](const JournalBegin& begin) { begins.push_back(begin); },
        [this](const JournalEntry& entry) { entries.push_back(entry); });
  }
  std::vector<JournalBegin> begins;
  std::vector<JournalEntry> entries;
};

class JournalFile : public ::testing::Test {
 protected:
  const TemporaryDirectory directory_;
  const std::string path_ = directory_ / "journal.jsonl";
};

TEST_F(JournalFile, GivesBackWhatWasWritten) {
  {
    Journal journal(path_);
    journal.begin(7, 2);
    journal.add({"a/x", 50, 1.25, "ab12"});
    journal.add({"quote \" and \n break", 3, 0.5, ""});
  }
  EXPECT_EQ(read_text(path_).find("\"sha256\":\"\""), std::string::npos);
  const JournalRead read(path_);
  ASSERT_THAT(read.begins, SizeIs(1));
  EXPECT_EQ(read.begins[0].inputs, 7U);
  EXPECT_EQ(read.begins[0].finished, 2U);
  EXPECT_EQ(read.begins[0].host, host_name());
  EXPECT_EQ(read.begins[0].pid, ::getpid());
  EXPECT_EQ(read.begins[0].kernel.boot, this_kernel().boot);
  EXPECT_EQ(read.begins[0].kernel.pid_namespace, this_kernel().pid_namespace);
  ASSERT_THAT(read.entries, SizeIs(2));
  EXPECT_EQ(read.entries[0].name, "a/x");
  EXPECT_EQ(read.entries[0].frames, 50);
  EXPECT_EQ(read.entries[0].audio_seconds, 1.25);
  EXPECT_EQ(read.entries[0].sha256, "ab12");
  EXPECT_EQ(read.entries[1].name, "quote \" and \n break");
  EXPECT_EQ(read.entries[1].sha256, "");
}

TEST_F(JournalFile, TakesNoLineWhereItsNameIsGone) {
  const auto error_of = [](Journal& journal) -> std::string {
    try {
      journal.add({"clip", 1, 1, ""});
    } catch (const StorageError& error) {
      return error.what();
    }
    return "";
  };
  Journal removed(path_);
  removed.begin(5, 0);
  fs::remove(path_);
  EXPECT_THAT(error_of(removed), HasSubstr("was removed or replaced during the run"));
  EXPECT_FALSE(fs::exists(path_));
  Journal replaced(path_);
  replaced.begin(5, 0);
  const std::string before = read_text(path_);
  fs::rename(path_, directory_ / "aside");
  fs::copy_file(directory_ / "aside", path_);
  EXPECT_THAT(error_of(replaced), HasSubstr("was removed or replaced during the run"));
  EXPECT_EQ(read_text(path_), before);
  EXPECT_EQ(read_text(directory_ / "aside"), before);
}

TEST_F(JournalFile, IsContinuedByTheNextWorker) {
  for (const std::size_t finished : {0, 2}) {
    Journal journal(path_, 1, "of a run");
    journal.begin(5, finished);
    journal.add({"clip", 1, 1, ""});
  }
  const JournalRead read(path_);
  ASSERT_THAT(read.begins, SizeIs(2));
  EXPECT_EQ(read.begins[1].finished, 2U);
  EXPECT_EQ(read.begins[1].fingerprint, "of a run");
  EXPECT_THAT(read.entries, SizeIs(2));
}

TEST_F(JournalFile, LosesALastLineThatWasNotFinished) {
  const std::string whole = R"({"name":"a","frames":1,"audio_seconds":1})"
                            "\n";
  // Also one that is longer than the block that is read at once, and one without a line before.
  for (const std::string& kept : {whole, whole + whole, std::string()}) {
    for (const std::size_t torn : {std::size_t{1}, std::size_t{4095}, std::size_t{4096},
                                   std::size_t{4097}, std::size_t{10000}}) {
      write_text(path_, kept + (R"({"name":")" + std::string(torn, 'x')).substr(0, torn));
      const Journal journal(path_);
      EXPECT_EQ(read_text(path_), kept) << torn;
    }
    write_text(path_, kept);
    const Journal journal(path_);
    EXPECT_EQ(read_text(path_), kept);
  }
}

TEST_F(JournalFile, TakesBackALineThatDoesNotFit) {
  Journal journal(path_);
  journal.add({"a", 1, 1, ""});
  const std::string before = read_text(path_);
  rlimit limit{};
  ASSERT_EQ(::getrlimit(RLIMIT_FSIZE, &limit), 0);
  const rlimit tight{before.size() + 10, limit.rlim_max};
  const auto handler = ::signal(SIGXFSZ, SIG_IGN);
  ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &tight), 0);
  EXPECT_THROW(journal.add({"b", 1, 1, ""}), StorageError);
  ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &limit), 0);
  ::signal(SIGXFSZ, handler);
  EXPECT_EQ(read_text(path_), before);
  journal.add({"c", 1, 1, ""});
  EXPECT_THAT(JournalRead(path_).entries, SizeIs(2));
}

TEST_F(JournalFile, PassesOverLinesOfAnotherKind) {
  write_text(path_,
             "not json\n\n[1]\n{\"other\": 1}\n"
             "{\"name\": \"a\", \"frames\": \"many\"}\n{\"name\": \"torn\n"
             "{\"inputs\": 3}\n{\"name\": \"b\", \"audio_seconds\": 2}\n");
  const JournalRead read(path_);
  ASSERT_THAT(read.begins, SizeIs(1));
  EXPECT_EQ(read.begins[0].inputs, 3U);
  ASSERT_THAT(read.entries, SizeIs(2));
  EXPECT_EQ(read.entries[0].frames, 0);
  EXPECT_EQ(read.entries[1].audio_seconds, 2.0);
}

TEST_F(JournalFile, IsAnErrorWhereItCannotBe) {
  EXPECT_THROW(Journal(directory_.path()), StorageError);
  EXPECT_THROW(Journal(directory_ / "missing/journal.jsonl"), StorageError);
  EXPECT_THROW(JournalRead(directory_.path()), StorageError);
}

TEST(JournalName, SaysWhosePartitionItIs) {
  const auto partition_of = [](const char* name) -> std::string {
    const auto partition = partition_of_journal(name);
    return partition ? partition->label() : "none";
  };
  EXPECT_EQ(partition_of("journal.jsonl"), "");
  EXPECT_EQ(partition_of("journal.3-of-8.jsonl"), "3-of-8");
  EXPECT_EQ(partition_of(journal_name("3-of-8").c_str()), "3-of-8");
  EXPECT_EQ(failures_name(""), "failures.jsonl");
  EXPECT_EQ(failures_name("3-of-8"), "failures.3-of-8.jsonl");
  for (const char* name :
       {"", "journal", ".jsonl", "failures.jsonl", "journal.json", "my-journal.jsonl",
        "journal.jsonl.tmp", "journal.1-of-2", "journal..jsonl", "journal.old.jsonl",
        "journal.2-of-2.jsonl", "journal1-of-2.jsonl", "journal.1-of-2-copy.jsonl"}) {
    EXPECT_EQ(partition_of(name), "none") << name;
    EXPECT_FALSE(is_name_of_lines(name) && std::string(name) != "failures.jsonl") << name;
  }
}

TEST_F(JournalFile, KeepsWhichInputAnOutputIsOf) {
  JournalEntry entry{"caf\xe9", 1, 1, "ab"};
  entry.input = {"in/caf\xe9.wav",
                 "/link/in/caf\xe9.wav",
                 "/data/in/caf\xe9.wav",
                 123,
                 -5,
                 "0f",
                 InputSegment{1.5, 0},
                 FilePart{24000, 48000, 48000, 16000}};
  JournalEntry whole{"b", 1, 1, ""};
  whole.input = {"/a/../b.wav",         "/b.wav", "/b.wav", std::uint64_t{1} << 63,
                 std::int64_t{1} << 62, "1e",     {}};
  whole.input.changed_ns = std::int64_t{1} << 61;
  {
    Journal journal(path_, 7, "of a run");
    journal.add(entry);
    journal.add(whole);
  }
  const JournalRead read(path_);
  ASSERT_THAT(read.entries, SizeIs(2));
  for (std::size_t i = 0; i < 2; ++i) {
    const InputIdentity& input = read.entries[i].input;
    const InputIdentity& written = i == 0 ? entry.input : whole.input;
    EXPECT_EQ(read.entries[i].name, i == 0 ? entry.name : whole.name);
    EXPECT_EQ(read.entries[i].fingerprint, "of a run");
    EXPECT_EQ(read.entries[i].generation, 7U);
    EXPECT_EQ(input.path, written.path);
    EXPECT_EQ(input.absolute, written.absolute);
    EXPECT_EQ(input.resolved, written.resolved);
    EXPECT_EQ(input.bytes, written.bytes);
    EXPECT_EQ(input.modified_ns, written.modified_ns);
    EXPECT_EQ(input.changed_ns, written.changed_ns);
    EXPECT_EQ(input.digest, written.digest);
    EXPECT_EQ(input.segment.has_value(), written.segment.has_value());
    EXPECT_EQ(input.part.has_value(), written.part.has_value());
  }
  EXPECT_EQ(read.entries[0].input.segment->offset_seconds, 1.5);
  EXPECT_EQ(read.entries[0].input.part->begin, 24000);
  EXPECT_EQ(read.entries[0].input.part->sample_rate_hz, 16000);
}

class Records : public JournalFile {
 protected:
  std::string digest_of(const std::string& name) const {
    const auto record = OutputRecords(directory_.path()).find(name);
    return record ? record->sha256 : "none";
  }
};

TEST_F(Records, AreTheLatestOfAllJournals) {
  EXPECT_EQ(OutputRecords(directory_.path()).next_generation(), 1U);
  Journal(path_, 2).add({"a", 1, 1, "second"});
  // Whatever order they are read in, and however many of them say something else.
  for (const char* name :
       {"journal.0-of-9.jsonl", "journal.8-of-9.jsonl", "journal.1-of-2.jsonl"}) {
    Journal(directory_ / name, 1).add({"a", 1, 1, "first"});
  }
  Journal(directory_ / "journal.1-of-2.jsonl", 1).add({"b", 1, 1, "other"});
  Journal(directory_ / "failures.jsonl", 9).add({"c", 1, 1, "no journal"});
  EXPECT_EQ(digest_of("a"), "second");
  EXPECT_EQ(digest_of("b"), "other");
  EXPECT_EQ(digest_of("c"), "none");
  EXPECT_EQ(OutputRecords(directory_.path()).next_generation(), 3U);
  Journal(path_, 2).add({"a", 1, 1, "the same worker's next"});
  EXPECT_EQ(digest_of("a"), "the same worker's next");
  Journal(directory_ / "journal.0-of-9.jsonl", 3).begin(0, 0);
  EXPECT_EQ(OutputRecords(directory_.path()).next_generation(), 4U);
}

TEST_F(Records, OfEarlierVersionsComeBeforeAllOthers) {
  write_text(path_, "{\"name\":\"a\",\"sha256\":\"old\"}\n{\"name\":\"a\",\"sha256\":\"older\"}\n");
  EXPECT_EQ(digest_of("a"), "older");  // the last line of a journal is its latest
  Journal(directory_ / "journal.0-of-1.jsonl", 1).add({"a", 1, 1, "new"});
  EXPECT_EQ(digest_of("a"), "new");
}

TEST_F(Records, AreNotReadFromWhatIsTornOrNoJournal) {
  const std::string line = "{\"name\":\"a\",\"sha256\":\"x\",\"generation\":4}";
  write_text(path_,
             "no JSON\n" + std::string(3 << 20, ' ') + "\n" + line + "\n" + line.substr(0, 20));
  EXPECT_EQ(digest_of("a"), "x");
  write_text(path_, line);  // being written
  EXPECT_EQ(digest_of("a"), "none");
  std::filesystem::remove(path_);
  std::filesystem::create_directory(path_);
  EXPECT_THROW(OutputRecords(directory_.path()), StorageError);
  EXPECT_THROW(OutputRecords(directory_ / "missing"), StorageError);
}

TEST_F(Records, StayOlderThanNewOnesWhateverTheirGeneration) {
  for (const char* generation :
       {"-1", "1e300", "1.5", "18446744073709551616", "18446744073709551615", "true"}) {
    write_text(path_, "{\"name\":\"a\",\"sha256\":\"old\",\"frames\":1e300,\"generation\":" +
                          std::string(generation) + "}\n");
    EXPECT_EQ(digest_of("a"), "old");
    const std::uint64_t next = OutputRecords(directory_.path()).next_generation();
    EXPECT_GT(next, 0U) << generation;
    fs::rename(path_, directory_ / "journal.0-of-2.jsonl");
    Journal(directory_ / "journal.1-of-2.jsonl", next).add({"a", 1, 1, "new"});
    EXPECT_EQ(digest_of("a"), "new") << generation;
    fs::remove(directory_ / "journal.0-of-2.jsonl");
    fs::remove(directory_ / "journal.1-of-2.jsonl");
  }
}

TEST_F(Records, AreNotReadFromCopiesOfJournals) {
  Journal(path_, 1).add({"a", 1, 1, "x"});
  Journal(directory_ / "journal.bak.jsonl", 2).add({"a", 1, 1, "copied"});
  fs::create_directory(directory_ / "journal.old.jsonl");
  fs::create_symlink(directory_ / "nowhere", directory_ / "journal.older.jsonl");
  EXPECT_EQ(digest_of("a"), "x");
}

TEST_F(Records, AreAllListedOnce) {
  Journal(path_, 1).add({"a", 1, 1, ""});
  Journal(directory_ / "journal.0-of-2.jsonl", 2).add({"b\xff", 1, 1, ""});
  Journal(directory_ / "journal.1-of-2.jsonl", 2).add({"a", 1, 1, ""});
  std::vector<std::string> names;
  OutputRecords(directory_.path()).for_each([&](const JournalEntry& one) {
    names.push_back(one.name);
  });
  EXPECT_THAT(names, UnorderedElementsAre("a", "b\xff"));
}

}  // namespace
}  // namespace w2vbert::tool::testing
