// What counts as finished: an output of this run, of the input that has its name now. Over real
// files, in every form that outputs have.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include <algorithm>
#include <chrono>
#include <csignal>
#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "core/file.h"
#include "support/descriptor_limit.h"
#include "support/error_message.h"
#include "support/temporary_directory.h"
#include "support/text_file.h"
#include "tool/store/journal.h"
#include "tool/store/made_outputs.h"
#include "tool/store/run_directory.h"
#include "tool/store/run_status.h"
#include "tool/store/verify_run.h"
#include "w2vbert/core/error.h"

namespace w2vbert::tool::testing {
namespace {

namespace fs = std::filesystem;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

struct Form {
  const char* name;
  std::size_t shard_size;
  OutputFormat format;
};

class FinishedOutputs : public ::testing::TestWithParam<Form> {
 protected:
  void SetUp() override {
    write_text(a_, "the first recording");
    write_text(b_, "the second one");
  }
  void TearDown() override { fs::current_path(working_directory_); }
  bool is_npy() const { return GetParam().format == OutputFormat::npy; }
  Fingerprint fingerprint() const {
    Fingerprint run = made_run(GetParam().shard_size);
    run.fields.front().second = model_;
    add_output_format(run, GetParam().format);
    return run;
  }
  // Every file has ten seconds at the rate that made_output() states.
  static FilePart part_of(const std::optional<InputSegment>& segment) {
    constexpr int kRate = 44100;
    constexpr std::int64_t kSamples = 10 * kRate;
    if (!segment) return {0, kSamples, kSamples, kRate};
    const auto begin = static_cast<std::int64_t>(segment->offset_seconds * kRate);
    const auto samples = static_cast<std::int64_t>(segment->duration_seconds * kRate);
    const std::int64_t end = samples == 0 ? kSamples : std::min(kSamples, begin + samples);
    return {begin, end, kSamples, kRate};
  }
  // `a_` as the list asks for a part of it, and the whole of `b_`.
  InputList list_with(const InputSegment& segment) const {
    InputList inputs("/");
    inputs.add(a_, segment);
    inputs.add(b_);
    inputs.finish();
    return inputs;
  }
  static InputList list_of(const std::vector<std::string>& paths) {
    InputList inputs("/");
    for (const std::string& path : paths) inputs.add(path);
    inputs.finish();
    return inputs;
  }
  // An output's values tell which file they were "computed" from. `recorded`: as by this version.
  Outputs::ScanResult run(const InputList& inputs, bool verify = false, bool recorded = true) {
    RunDirectory directory(out_, fingerprint());
    const auto outputs = make_outputs(inputs, kContent, directory);
    const Outputs::ScanResult found = outputs->scan({}, verify);
    outputs->clean();
    directory.start(inputs.size(), found.finished);
    for (const std::size_t i : found.pending) {
      if (inputs.path(i) == failing_) {
        outputs->skip(i);
        continue;
      }
      Output output = made_output(inputs, *outputs, i);
      output.tensors.front().second += static_cast<double>(fs::file_size(inputs.path(i)));
      if (recorded) {
        output.report.input = identify_input(InputFile::open<AudioError>(inputs.path(i)));
        output.report.input.segment = inputs.segment(i);
        output.report.input.part = part_of(inputs.segment(i));
      }
      outputs->write(output);
    }
    outputs->finish();
    return found;
  }
  Outputs::ScanResult run(const std::vector<std::string>& paths, bool verify = false) {
    return run(list_of(paths), verify);
  }
  std::string error_of(const std::vector<std::string>& paths) {
    return message_of<UsageError>([&] { run(paths); });
  }
  // The inode, time and bytes of every file that holds outputs.
  std::map<std::string, std::pair<std::string, std::string>> outputs() const {
    std::map<std::string, std::pair<std::string, std::string>> all;
    for (const auto& entry : fs::recursive_directory_iterator(out_)) {
      const std::string path = entry.path().string();
      if (!path.ends_with(".safetensors") && !path.ends_with(".npy")) continue;
      struct stat status {};
      EXPECT_EQ(::lstat(path.c_str(), &status), 0);
      const FileIdentity identity = identity_of(status);
      all[path] = {std::to_string(identity.inode) + " " + std::to_string(identity.modified_ns),
                   read_text(path)};
    }
    return all;
  }
  void lose_the_journal() const { fs::remove(out_ + "/journal.jsonl"); }

  Verification verify() {
    problems_.clear();
    VerifyEvents events;
    events.bad = [this](const std::string& problem) { problems_.push_back(problem); };
    return verify_run(out_, 1, events);
  }

  std::string model_ = "abc";
  std::string failing_;  // an input that cannot be computed
  std::vector<std::string> problems_;
  const fs::path working_directory_ = fs::current_path();
  const TemporaryDirectory scratch_;
  const std::string out_ = scratch_ / "out";
  const std::string a_ = scratch_ / "in-a.wav";
  const std::string b_ = scratch_ / "in-b.wav";
};

TEST_P(FinishedOutputs, AreLeftAloneUnderEverySpellingOfTheirInputs) {
  run({a_, b_});
  const auto before = outputs();
  const std::string name = fs::path(scratch_.path()).filename().string();
  fs::create_symlink(scratch_.path(), scratch_.path() + "-link");
  for (const std::string& folder : {scratch_.path(), scratch_.path() + "/../" + name,
                                    scratch_.path() + "/.//", scratch_.path() + "-link"}) {
    const auto found = run({folder + "/in-a.wav", folder + "/in-b.wav"});
    EXPECT_EQ(found.finished, 2U) << folder;
    EXPECT_EQ(found.unrecorded, 0U);
    EXPECT_EQ(outputs(), before);
  }
  fs::remove(scratch_.path() + "-link");
}

TEST_P(FinishedOutputs, AreLeftAloneWhereTheirInputsMovedOrWereTouched) {
  run({a_, b_});
  const auto before = outputs();
  fs::create_directory(scratch_ / "moved");
  fs::rename(a_, scratch_ / "moved/in-a.wav");
  fs::copy(b_, scratch_ / "moved/in-b.wav");
  fs::last_write_time(scratch_ / "moved/in-b.wav", fs::file_time_type{});
  for (int time = 0; time < 2; ++time) {
    EXPECT_EQ(run({scratch_ / "moved/in-a.wav", scratch_ / "moved/in-b.wav"}).finished, 2U);
    EXPECT_EQ(outputs(), before);
  }
  // The new places are recorded: once.
  const auto lines = [&] {
    const std::string journal = read_text(out_ + "/journal.jsonl");
    std::size_t count = 0;
    for (std::size_t at = journal.find("/moved/in-a"); at != std::string::npos;
         at = journal.find("/moved/in-a", at + 1)) {
      ++count;
    }
    return count;
  };
  EXPECT_EQ(lines(), 2U);  // as given and resolved
  EXPECT_EQ(run_status(out_).workers[0].done, 0U);
}

TEST_P(FinishedOutputs, AreLookedForInTheirDirectoryOnly) {
  run({a_, b_});
  std::string journal = read_text(out_ + "/journal.jsonl");
  const std::string name = "\"name\":\"in-a\"";
  for (std::size_t at = journal.find(name); at != std::string::npos; at = journal.find(name)) {
    journal.replace(at, name.size(), "\"name\":\"../secret\"");
  }
  std::ofstream(out_ + "/journal.jsonl") << journal;
  for (const char* ending : {".safetensors", ".npy"}) std::ofstream(scratch_ / "secret" + ending);
  (void)verify();
  const bool is_sharded = GetParam().shard_size > 0;
  EXPECT_THAT(problems_, Contains(HasSubstr(is_sharded ? "../secret" : "no name of an output")));
}

// A .npy does not say itself which input it is of.
TEST_P(FinishedOutputs, OfOneArrayAreThereWithTheirRecordsOnly) {
  if (!is_npy()) return;
  const auto old_handler = std::signal(SIGXFSZ, SIG_IGN);
  struct rlimit old_limit {};
  ASSERT_EQ(::getrlimit(RLIMIT_FSIZE, &old_limit), 0);
  int with = 0, without = 0;
  for (int more = 0; more < 2400; more += 100) {
    fs::remove_all(out_);
    run(list_of({a_}));
    // Longer than all other files.
    std::ofstream(out_ + "/journal.jsonl", std::ios::app) << std::string(1 << 17, ' ') << '\n';
    struct rlimit limit = old_limit;
    limit.rlim_cur = fs::file_size(out_ + "/journal.jsonl") + static_cast<rlim_t>(more);
    ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &limit), 0);
    try {
      run({a_, b_});
    } catch (const StorageError&) {  // no room for one of its lines
    }
    ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &old_limit), 0);
    bool has_record = false;
    read_journal(
        out_ + "/journal.jsonl", [](const JournalBegin&) {},
        [&](const JournalEntry& entry) { has_record = has_record || entry.name == "in-b"; });
    EXPECT_EQ(fs::exists(out_ + "/in-b.npy"), has_record) << more;
    ++(has_record ? with : without);
    EXPECT_EQ(run({a_, b_}).finished, has_record ? 2U : 1U);
    EXPECT_EQ(verify().whole, 2U);
  }
  std::signal(SIGXFSZ, old_handler);
  EXPECT_GT(with, 0);
  EXPECT_GT(without, 3);
}

TEST_P(FinishedOutputs, NeedNoInputsAnyMore) {
  run({a_, b_});
  const auto before = outputs();
  fs::remove(a_);
  fs::remove(b_);
  EXPECT_EQ(run({a_, b_}).finished, 2U);
  EXPECT_EQ(outputs(), before);
}

TEST_P(FinishedOutputs, OfAReplacedInputAreMadeAnew) {
  run({a_, b_});
  const auto before = outputs();
  for (const char* text : {"another, longer recording", "another, LONGER recording"}) {
    write_text(a_, text);
    fs::last_write_time(a_, fs::last_write_time(b_) + std::chrono::seconds(text[9] == 'L' ? 5 : 9));
    const auto found = run({a_, b_});
    EXPECT_EQ(found.replaced, 1U);
    EXPECT_EQ(found.damaged, 0U);
    EXPECT_EQ(found.finished, 1U);
    EXPECT_NE(outputs(), before);
    const auto now = outputs();
    EXPECT_EQ(run({a_, b_}).finished, 2U);
    EXPECT_EQ(outputs(), now);
    EXPECT_EQ(verify_run(out_, 1, {}).bad, 0U);
  }
}

// As after a kill, or where the new input cannot be read: it stays, and is not taken for the new
// one's.
// As recordings of one length are that came out of an archive with one time for all.
TEST_P(FinishedOutputs, OfAReplacedInputOfTheSameSizeAndTimeAreMadeAnew) {
  const fs::file_time_type time = fs::last_write_time(a_);
  std::ofstream(a_) << "recording A";
  std::ofstream(b_) << "recording B";
  for (const std::string& path : {a_, b_}) fs::last_write_time(path, time);
  run({a_, b_});
  fs::rename(a_, scratch_ / "other");
  fs::rename(b_, a_);
  fs::rename(scratch_ / "other", b_);
  ASSERT_EQ(fs::last_write_time(a_), fs::last_write_time(b_));
  auto found = run({a_, b_});
  EXPECT_EQ(found.replaced, 2U);
  EXPECT_EQ(found.finished, 0U);
  // Written over in its place, with the time set back.
  std::ofstream(a_) << "recording C";
  fs::last_write_time(a_, time);
  found = run({a_, b_});
  EXPECT_EQ(found.replaced, 1U);
  EXPECT_EQ(found.finished, 1U);
  EXPECT_EQ(run({a_, b_}).finished, 2U);
  EXPECT_EQ(verify().bad, 0U);
}

TEST_P(FinishedOutputs, OfAReplacedInputStayUntilTheirSuccessorsAreThere) {
  run({a_, b_});
  const auto before = outputs();
  const std::string recording = read_text(a_);
  write_text(a_, "another, longer recording");
  failing_ = a_;
  for (int time = 0; time < 2; ++time) {
    EXPECT_EQ(run({a_, b_}).replaced, 1U);
    EXPECT_EQ(outputs(), before);
    EXPECT_EQ(verify().bad, 1U);
    EXPECT_THAT(problems_, ElementsAre(AllOf(HasSubstr("in-a"), HasSubstr("an earlier content"),
                                             HasSubstr(a_))));
    const std::string journal = read_text(out_ + "/journal.jsonl");
    const std::size_t mark = journal.find("\"outdated\":true");
    EXPECT_EQ(mark, journal.rfind("\"outdated\":true"));  // said once
  }
  fs::rename(a_, a_ + ".gone");  // nor is it of an input that is gone
  EXPECT_EQ(run({a_, b_}).replaced, 1U);
  fs::rename(a_ + ".gone", a_);
  failing_.clear();
  EXPECT_EQ(run({a_, b_}).replaced, 1U);
  EXPECT_NE(outputs(), before);
  EXPECT_EQ(verify().bad, 0U);
  EXPECT_EQ(run({a_, b_}).finished, 2U);

  // The first recording comes back before its successor was computed.
  const auto now = outputs();
  const std::string second = read_text(a_);
  write_text(a_, recording);
  failing_ = a_;
  EXPECT_EQ(run({a_, b_}).replaced, 1U);
  EXPECT_EQ(verify().bad, 1U);
  write_text(a_, second);
  EXPECT_EQ(run({a_, b_}).finished, 2U);
  EXPECT_EQ(verify().bad, 0U);
  EXPECT_EQ(outputs(), now);
}

TEST_P(FinishedOutputs, ThatAreDamagedStayUntilTheirSuccessorsAreThere) {
  run({a_, b_});
  const auto whole = outputs();
  const std::string path = whole.begin()->first;
  fs::resize_file(path, fs::file_size(path) - 1);
  const auto damaged = outputs();
  failing_ = a_;
  EXPECT_GE(run(list_of({a_}), false).damaged, 1U);
  EXPECT_EQ(outputs(), damaged);
  EXPECT_EQ(verify().bad, 1U);
  failing_.clear();
  run({a_, b_});
  EXPECT_EQ(read_text(path), whole.at(path).second);
}

// What they say of themselves counts, whatever happened to the journal.
TEST_P(FinishedOutputs, AreLeftAloneWhateverByteOfTheJournalChanged) {
  run({a_, b_});
  const auto before = outputs();
  const std::string journal = read_text(out_ + "/journal.jsonl");
  // What .npy files are of is in the other lines alone.
  const std::size_t end = is_npy() ? journal.find('\n') : journal.size();
  for (std::size_t at = 0; at < end; ++at) {
    for (const char changed : {static_cast<char>(journal[at] ^ 1), '\n', '\0'}) {
      if (at % 5 != 0 && at > journal.find('\n')) continue;  // to be short
      std::string text = journal;
      text[at] = changed;
      write_text(out_ + "/journal.jsonl", text);
      ASSERT_EQ(run({a_, b_}).finished, 2U) << at << ": " << text;
      ASSERT_EQ(outputs(), before) << at << ": " << text;
      ASSERT_EQ(verify_run(out_, 1, {}).bad, 0U) << at << ": " << text;
    }
  }
}

TEST_P(FinishedOutputs, AreLeftAloneWhateverByteOfTheirIndexChanged) {
  if (GetParam().shard_size == 0) return;
  run({a_, b_});
  const auto before = outputs();
  const std::string path = out_ + "/shard-00000.jsonl";
  const std::string index = read_text(path);
  for (std::size_t at = 0; at < index.size(); ++at) {
    std::string text = index;
    text[at] ^= 1;
    write_text(path, text);
    ASSERT_EQ(run({a_, b_}).finished, 2U) << text;
    ASSERT_EQ(outputs(), before);
    ASSERT_EQ(read_text(path), index);
  }
}

TEST_P(FinishedOutputs, StayWithoutTheRunRecord) {
  run({a_, b_});
  const auto before = outputs();
  fs::remove(out_ + "/run.json");
  EXPECT_EQ(run({a_, b_}).finished, 2U);
  EXPECT_EQ(outputs(), before);
  EXPECT_TRUE(fs::exists(out_ + "/run.json"));
  fs::remove(out_ + "/run.json");
  const std::string path = before.begin()->first;
  fs::resize_file(path, fs::file_size(path) - 1);
  EXPECT_GE(run({a_, b_}).damaged, 1U);
  EXPECT_EQ(read_text(path), before.begin()->second.second);
  fs::remove(out_ + "/run.json");
  model_ = "another";
  EXPECT_THROW(run({a_, b_}), UsageError);
}

TEST_P(FinishedOutputs, HaveTheFailuresOfRunsThatGoOnBesideThem) {
  const auto failures = [&](const char* partition) {
    return out_ + "/failures." + partition + ".jsonl";
  };
  const ClipFailure failure{a_, "read", "audio", "is no audio"};
  {
    RunDirectory worker(out_, fingerprint(), {0, 2});
    worker.start(2, 0);
    worker.record(failure);
    RunDirectory ended(out_, fingerprint(), {1, 3});
    ended.start(2, 0);
    ended.record(failure);
  }
  RunDirectory goes_on(out_, fingerprint(), {1, 2});
  goes_on.start(2, 0);
  goes_on.record(failure);
  write_text(failures("0-of-9"), "Dear diary,\n");
  RunDirectory alone(out_, fingerprint());
  alone.start(2, 0);
  EXPECT_FALSE(fs::exists(failures("0-of-2")));  // by a run that has ended
  EXPECT_FALSE(fs::exists(failures("1-of-3")));
  EXPECT_NE(read_text(failures("1-of-2")), "");
  EXPECT_EQ(read_text(failures("0-of-9")), "Dear diary,\n");
  RunDirectory beside(out_, fingerprint(), {1, 2});
  beside.start(2, 0);
  EXPECT_NE(read_text(failures("1-of-2")), "");
}

TEST_P(FinishedOutputs, OfAnotherInputOfTheirNameAreRefused) {
  run({a_, b_});
  const auto before = outputs();
  fs::create_directory(scratch_ / "other");
  write_text(scratch_ / "other/in-a.wav", "tuesday's first recording");
  fs::copy(b_, scratch_ / "other/in-b.wav");
  for (int time = 0; time < 2; ++time) {
    EXPECT_THAT(error_of({scratch_ / "other/in-a.wav", scratch_ / "other/in-b.wav"}),
                AllOf(HasSubstr(scratch_ / "other/in-a.wav"), HasSubstr("from " + a_),
                      HasSubstr("\"in-a\"")));
    EXPECT_EQ(outputs(), before);
    fs::remove(a_);  // the first one's input may be gone by now
  }
}

TEST_P(FinishedOutputs, OfAnotherSegmentAreRefused) {
  run(list_with({1, 2}));
  const auto before = outputs();
  EXPECT_EQ(run(list_with({1, 2})).finished, 2U);
  EXPECT_EQ(outputs(), before);
  // The same name in milliseconds.
  EXPECT_THROW(run(list_with({1, 2.0001})), UsageError);
  EXPECT_EQ(outputs(), before);
}

// A kill between an output and its record leaves it without one.
TEST_P(FinishedOutputs, OfAnotherPartAreRefusedWithoutTheirRecordToo) {
  if (is_npy()) return;  // these say nothing of themselves
  const InputSegment beginning{0, 2, /*has_offset=*/false};
  run(list_with(beginning));
  const auto before = outputs();
  for (int time = 0; time < 2; ++time) {
    EXPECT_THAT(error_of({a_, b_}),
                AllOf(HasSubstr(a_), HasSubstr("the whole file: gives the output name \"in-a\""),
                      HasSubstr("has from 0 s to 2 s of it")));
    EXPECT_THROW(run(list_with({0, 3, false})), UsageError);
    EXPECT_EQ(outputs(), before);
    lose_the_journal();
  }
  EXPECT_EQ(run(list_with(beginning)).finished, 2U);
  fs::remove_all(out_);
  run(list_with({0.2, 0}));
  lose_the_journal();
  EXPECT_THROW(run(list_with({0.2004, 0})), UsageError);  // the same in milliseconds
}

TEST_P(FinishedOutputs, AreOfTheSamePartHoweverAListAsksForIt) {
  const std::vector<InputSegment> all = {{0, 10, false}, {0, 10.06, false}};
  run({a_, b_});
  const auto before = outputs();
  for (int time = 0; time < 2; ++time) {
    for (const InputSegment& segment : all) {
      EXPECT_EQ(run(list_with(segment)).finished, 2U) << segment.duration_seconds;
    }
    EXPECT_EQ(run({a_, b_}).finished, 2U);
    EXPECT_EQ(outputs(), before);
    lose_the_journal();
  }
  for (const InputSegment& segment : all) {
    fs::remove_all(out_);
    run(list_with(segment));
    EXPECT_EQ(run({a_, b_}).finished, 2U) << segment.duration_seconds;
  }
}

TEST_P(FinishedOutputs, WithoutAWordOfTheirPartHaveItsLength) {
  if (is_npy()) return;
  run(list_of({a_, b_}), false, /*recorded=*/false);  // two and three seconds
  EXPECT_EQ(run(list_with({0, 2, false}), false, false).finished, 2U);
  EXPECT_EQ(run(list_with({0, 4, false}), false, false).replaced, 1U);
}

// The links of DVC, of git-annex, or a folder's that leads to the version of the day.
TEST_P(FinishedOutputs, OfALinkThatLeadsElsewhereByNowAreMadeAnew) {
  fs::create_directories(scratch_ / "v1");
  fs::create_directories(scratch_ / "v2");
  write_text(scratch_ / "v1/x.wav", "the first version");
  write_text(scratch_ / "v2/x.wav", "the other version");  // as long
  fs::last_write_time(scratch_ / "v2/x.wav", fs::last_write_time(scratch_ / "v1/x.wav"));
  fs::current_path(scratch_.path());
  for (const std::string& folder : {std::string(), scratch_.path() + "/"}) {
    fs::remove_all(out_);
    fs::remove(scratch_ / "now");
    fs::create_directory_symlink("v1", scratch_ / "now");
    run(list_of({folder + "now/x.wav"}));
    fs::remove(scratch_ / "now");
    fs::create_directory_symlink("v2", scratch_ / "now");
    EXPECT_EQ(run(list_of({folder + "now/x.wav"})).replaced, 1U) << folder;
    EXPECT_EQ(run(list_of({folder + "now/x.wav"})).finished, 1U);
    // Its place under any name.
    EXPECT_EQ(run(list_of({scratch_ / "v2/../now/x.wav"})).finished, 1U);
  }
}

TEST_P(FinishedOutputs, OfAnotherWorkingDirectoryAreNotThoseOfAnInputThatIsGone) {
  for (const std::string project : {"one", "other"}) {
    fs::create_directories(scratch_ / (project + "/clips"));
    write_text(scratch_ / (project + "/clips/x.wav"), "the same bytes");
    write_text(scratch_ / (project + "/clips/y.wav"), "the same bytes");
  }
  fs::remove(scratch_ / "other/clips/x.wav");
  fs::current_path(scratch_ / "one");
  run({"clips/x.wav", "clips/y.wav"});
  const auto made = outputs();
  fs::current_path(scratch_ / "other");
  EXPECT_THAT(error_of({"clips/x.wav", "clips/y.wav"}),
              AllOf(HasSubstr("other/clips/x.wav"), HasSubstr("one/clips/x.wav")));
  fs::current_path(scratch_ / "one");
  fs::remove_all(scratch_ / "one/clips");
  EXPECT_EQ(run({"clips/x.wav", "clips/y.wav"}).finished, 2U);
  EXPECT_EQ(outputs(), made);
}

// Names, types and shapes of tensors, the fingerprint, the index: any byte before the data.
TEST_P(FinishedOutputs, AreDamagedWhereAnyByteOfTheirHeaderIs) {
  if (is_npy()) return;
  run({a_, b_});
  const auto before = outputs();
  const std::string path = before.begin()->first;
  const std::string whole = before.begin()->second.second;
  const std::size_t header = 8 + static_cast<unsigned char>(whole[0]) +
                             256 * static_cast<std::size_t>(static_cast<unsigned char>(whole[1]));
  ASSERT_LT(header, whole.size());
  for (std::size_t at = 0; at < header; ++at) {
    std::string changed = whole;
    changed[at] ^= 1;
    write_text(path, changed);
    EXPECT_EQ(verify_run(out_, 1, {}).bad, 1U) << "byte " << at;
    if (at % 11 != 0 && whole.compare(at, 12, "fingerprint\"") != 0) continue;
    EXPECT_GE(run({a_, b_}).damaged, 1U) << "byte " << at;
    EXPECT_EQ(read_text(path), whole) << "byte " << at;
  }
}

// Without a digest of the header the journal says that it is not another run's.
TEST_P(FinishedOutputs, OfAnEarlierVersionWhoseFingerprintIsDamagedAreMadeAnew) {
  if (is_npy() || GetParam().shard_size > 0) return;
  run(list_of({a_, b_}), false, /*recorded=*/false);
  const std::string path = outputs().begin()->first;
  const std::string whole = read_text(path);
  std::string earlier = whole;
  earlier.replace(earlier.find("header_sha256"), 6, "absent");
  write_text(path, earlier);
  EXPECT_EQ(run({a_, b_}).finished, 2U);
  EXPECT_EQ(read_text(path), earlier);
  earlier[earlier.find("\"fingerprint\":\"") + 15] ^= 1;
  write_text(path, earlier);
  EXPECT_EQ(run(list_of({a_, b_}), false, false).damaged, 1U);
  EXPECT_EQ(read_text(path), whole);
  lose_the_journal();
  write_text(path, earlier);
  EXPECT_THAT(error_of({a_, b_}), HasSubstr("belongs to another run"));
}

TEST_P(FinishedOutputs, AreKnownByTheirInputsBytesWithoutAJournal) {
  run({a_, b_});
  const auto before = outputs();
  lose_the_journal();
  const auto found = run({a_, b_});
  EXPECT_EQ(found.finished, 2U);
  EXPECT_EQ(found.unrecorded, is_npy() ? 2U : 0U);  // these say nothing of themselves
  EXPECT_EQ(outputs(), before);
  if (is_npy()) return;
  EXPECT_EQ(verify_run(out_, 1, {}).bad, 0U);
  lose_the_journal();
  write_text(a_, "another recording, of which place nothing is known");
  EXPECT_THAT(error_of({a_, b_}), HasSubstr("from another file"));
  EXPECT_EQ(outputs(), before);
}

TEST_P(FinishedOutputs, OfAnEarlierVersionAreTakenForWhatTheirNamesSay) {
  run(list_of({a_, b_}), false, /*recorded=*/false);
  const auto before = outputs();
  write_text(a_, "another recording, which nothing tells");
  for (int time = 0; time < 2; ++time) {
    const auto found = run({a_, b_});
    EXPECT_EQ(found.finished, 2U);
    EXPECT_EQ(found.unrecorded, 2U);
    EXPECT_EQ(outputs(), before);
  }
}

TEST_P(FinishedOutputs, StayWhereTheyCannotBeRead) {
  run({a_, b_});
  const auto before = outputs();
  const InputList inputs = list_of({a_, b_});
  for (const bool verify : {false, true}) {
    RunDirectory directory(out_, fingerprint());
    const auto finished = make_outputs(inputs, kContent, directory);
    (void)directory.record_of("in-a");
    {
      const DescriptorLimit limit;
      EXPECT_THROW(finished->scan({}, verify), StorageError);
    }
    EXPECT_EQ(finished->clean(), 0U);
    EXPECT_EQ(outputs(), before);
  }
}

TEST_P(FinishedOutputs, ThatAreDamagedAreMadeAnewAndThoseOfOthersAreNot) {
  run({a_, b_});
  const auto before = outputs();
  const std::string path = before.begin()->first;
  fs::resize_file(path, fs::file_size(path) - 1);
  const auto found = run({a_, b_});
  EXPECT_GE(found.damaged, 1U);
  EXPECT_EQ(read_text(path), before.at(path).second);

  // Nothing says that this run wrote what lies there.
  lose_the_journal();
  write_text(path, "notes, which nobody has a copy of");
  EXPECT_THAT(error_of({a_, b_}), HasSubstr("is no output of this run"));
  EXPECT_EQ(read_text(path), "notes, which nobody has a copy of");
  if (is_npy()) return;
  // This file itself does.
  write_text(path, before.at(path).second.substr(0, before.at(path).second.size() - 1));
  EXPECT_GE(run({a_, b_}).damaged, 1U);
  EXPECT_EQ(read_text(path), before.at(path).second);
}

TEST_P(FinishedOutputs, ThatAreDamagedAndOfAReplacedInputCountOnce) {
  run({a_, b_});
  const std::string path = outputs().begin()->first;
  fs::resize_file(path, fs::file_size(path) - 1);
  write_text(a_, "another, longer recording");
  const auto found = run({a_, b_});
  EXPECT_EQ(found.replaced, 1U);
  EXPECT_EQ(found.damaged + found.replaced, found.pending.size());
}

TEST_P(FinishedOutputs, OfAnotherRunAreRefusedWhereItsRunRecordIsGone) {
  run({a_, b_});
  const auto before = outputs();
  fs::remove(out_ + "/run.json");
  model_ = "another";
  const std::string c = scratch_ / "in-c.wav", d = scratch_ / "in-d.wav";
  write_text(c, "the third one");
  write_text(d, "the last one");
  if (GetParam().shard_size == 0) run({c, d});
  EXPECT_THAT(error_of({a_, b_, c, d}), HasSubstr("belongs to another run"));
  if (GetParam().shard_size > 0) return;
  EXPECT_EQ(run_status(out_).outputs, 2U);
  EXPECT_EQ(run_status(out_).audio_seconds, 2.0 + 3);
  EXPECT_EQ(verify_run(out_, 1, {}).bad, 2U);
  // Nor do its records give a damaged one away.
  const std::string& path = before.begin()->first;
  fs::resize_file(path, fs::file_size(path) - 1);
  EXPECT_THAT(error_of({a_, b_, c, d}), HasSubstr(is_npy() ? "another run" : "no output of this"));
  EXPECT_EQ(fs::file_size(path), before.at(path).second.size() - 1);
  fs::remove(path);
  EXPECT_EQ(verify_run(out_, 1, {}).missing, 0U);
}

TEST_P(FinishedOutputs, LieInFoldersOfTheirDirectoryOnly) {
  if (GetParam().shard_size > 0) return;  // they have no folders
  for (const char* folder : {"x", "y", "elsewhere"}) fs::create_directory(scratch_ / folder);
  const std::string x = scratch_ / "x/a.wav", y = scratch_ / "y/b.wav";
  fs::copy(a_, x);
  fs::copy(b_, y);
  fs::create_directory(out_);
  fs::create_directory_symlink(scratch_ / "elsewhere", out_ + "/x");
  EXPECT_THROW(run({x, y}), StorageError);
  EXPECT_TRUE(fs::is_empty(scratch_ / "elsewhere"));
  EXPECT_FALSE(fs::exists(out_ + "/y"));  // it is said before any work
  fs::remove(out_ + "/x");
  run({x, y});
  EXPECT_EQ(verify_run(out_, 1, {}).whole, 2U);
  fs::rename(out_ + "/x", scratch_ / "elsewhere/x");
  fs::create_directory_symlink(scratch_ / "elsewhere/x", out_ + "/x");
  std::string problem;
  VerifyEvents events;
  events.bad = [&](const std::string& message) { problem = message; };
  EXPECT_EQ(verify_run(out_, 1, events).missing, 1U);
  EXPECT_THAT(problem, HasSubstr("lies behind a symbolic link"));
}

TEST_P(FinishedOutputs, OfDamagedOnesAnotherProcessMayMakeTheRest) {
  run({a_, b_});
  const auto before = outputs();
  const std::string path = before.begin()->first;
  fs::resize_file(path, fs::file_size(path) - 1);
  const InputList inputs = list_of({a_, b_});
  RunDirectory directory(out_, fingerprint());
  const auto slow = make_outputs(inputs, kContent, directory);
  (void)slow->scan({}, false);
  run({a_, b_});  // the faster one
  const auto redone = outputs();
  EXPECT_EQ(redone.at(path).second, before.at(path).second);
  slow->clean();
  EXPECT_EQ(outputs(), redone);
}

TEST_P(FinishedOutputs, HaveNamesOfAnyBytes) {
  const std::string odd = scratch_ / "in-caf\xe9.wav", looks_escaped = scratch_ / "in-caf\\xe9.wav";
  write_text(odd, "a name in Latin-1");
  write_text(looks_escaped, "a name in ASCII");
  run({odd, looks_escaped});
  const auto before = outputs();
  for (const bool verify : {false, true}) {
    const auto found = run({odd, looks_escaped}, verify);
    EXPECT_EQ(found.finished, 2U);
    EXPECT_EQ(found.unrecorded, 0U);
    EXPECT_EQ(outputs(), before);
  }
  EXPECT_EQ(run_status(out_).outputs, 2U);
  const Verification verified = verify_run(out_, 1, {});
  EXPECT_EQ(verified.bad + verified.missing, 0U);
  for (const auto& [path, output] : before) {
    std::string changed = output.second;
    changed[changed.size() - 3] ^= 1;
    write_text(path, changed);
  }
  EXPECT_EQ(verify_run(out_, 1, {}).bad, before.size());
}

TEST_P(FinishedOutputs, BeginWithADot) {
  write_text(scratch_ / ".take1.wav", "hidden");
  run({scratch_ / ".take1.wav", a_});
  EXPECT_EQ(verify_run(out_, 1, {}).whole, GetParam().shard_size > 0 ? 1U : 2U);
  EXPECT_EQ(verify_run(out_, 1, {}).missing, 0U);
  EXPECT_EQ(run_status(out_).outputs, 2U);
}

TEST_P(FinishedOutputs, ThatCameBackFromEarlierAreNotWhatWasWrittenLast) {
  if (GetParam().shard_size > 0) return;  // a shard has no record of its own
  run({a_, b_});
  const auto before = outputs();
  write_text(a_, "another, longer recording");
  run({a_, b_});
  EXPECT_EQ(verify_run(out_, 1, {}).bad, 0U);
  const std::string path = before.begin()->first;
  const auto now = outputs();
  write_text(path, before.begin()->second.second);
  EXPECT_EQ(verify_run(out_, 1, {}).bad, 1U);
  run({a_, b_}, /*verify=*/true);
  EXPECT_EQ(read_text(path), now.at(path).second);
}

// What is under the place of a disk when it has gone is not where outputs belong.
TEST_P(FinishedOutputs, AreNotPutIntoADirectoryThatHasTakenTheOnesPlace) {
  RunDirectory directory(out_, fingerprint());
  directory.start(2, 0);
  directory.prepare("x/a");
  EXPECT_TRUE(fs::is_directory(out_ + "/x"));
  fs::rename(out_, out_ + ".gone");
  EXPECT_THROW(directory.prepare("x/a"), StorageError);
  EXPECT_FALSE(fs::exists(out_));
  fs::create_directory(out_);
  EXPECT_THAT(message_of<StorageError>([&] { directory.prepare("x/a"); }),
              HasSubstr("is another directory than when the run began"));
  EXPECT_TRUE(fs::is_empty(out_));
}

INSTANTIATE_TEST_SUITE_P(Forms, FinishedOutputs,
                         ::testing::Values(Form{"Files", 0, OutputFormat::safetensors},
                                           Form{"Npy", 0, OutputFormat::npy},
                                           Form{"Shards", 2, OutputFormat::safetensors}),
                         [](const auto& of) { return std::string(of.param.name); });

}  // namespace
}  // namespace w2vbert::tool::testing
