#include "tool/store/run_status.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <filesystem>
#include <string>
#include <system_error>
#include <vector>

#include "core/host_name.h"
#include "support/raw_safetensors.h"
#include "support/temporary_directory.h"
#include "support/thread_limit.h"
#include "tool/store/made_outputs.h"
#include "tool/store/run_directory.h"
#include "tool/store/verify_run.h"
#include "w2vbert/core/error.h"

namespace w2vbert::tool::testing {
namespace {

namespace fs = std::filesystem;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

class StatusOfARun : public ::testing::Test {
 protected:
  StatusOfARun() {
    fs::create_directory(out_);
    write_text(out_ + "/run.json", run_record(made_run()));
  }
  // A journal as a worker leaves it; written `age` seconds ago.
  void journal(const std::string& partition, std::size_t inputs, std::size_t finished,
               const std::vector<std::string>& names, const std::string& host = "elsewhere",
               int pid = 1, int age = 0) {
    const std::string path =
        out_ + "/journal" + (partition.empty() ? "" : ".") + partition + ".jsonl";
    std::string text = "{\"inputs\":" + std::to_string(inputs) +
                       ",\"finished\":" + std::to_string(finished) + ",\"host\":\"" + host +
                       "\",\"pid\":" + std::to_string(pid) + "}\n";
    for (const std::string& name : names) {
      write_text(out_ + "/" + name + ".safetensors", "");
      text += R"({"name":")" + name + R"(","frames":5,"audio_seconds":1.5,"sha256":"x"})" + "\n";
    }
    write_text(path, (fs::exists(path) ? read_text(path) : "") + text);
    fs::last_write_time(path, fs::file_time_type::clock::now() - std::chrono::seconds(age));
  }
  const TemporaryDirectory scratch_;
  const std::string out_ = scratch_ / "out";
};

TEST_F(StatusOfARun, CountsWhatOneWorkerDid) {
  journal("", 9, 4, {"a", "b"});
  write_text(out_ + "/failures.jsonl", "{}\n{}\n{}\n");
  const RunStatus status = run_status(out_ + "//");
  EXPECT_EQ(status.run.fields, made_run().fields);
  ASSERT_THAT(status.workers, SizeIs(1));
  const WorkerStatus& worker = status.workers[0];
  EXPECT_EQ(worker.partition, "");
  EXPECT_EQ(worker.inputs, 9U);
  EXPECT_EQ(worker.finished, 4U);
  EXPECT_EQ(worker.done, 2U);
  EXPECT_EQ(worker.failed, 3U);
  EXPECT_EQ(worker.audio_seconds, 3.0);
  EXPECT_EQ(worker.host, "elsewhere");
  EXPECT_EQ(status.outputs, 2U);
  EXPECT_EQ(status.audio_seconds, 3.0);
  EXPECT_EQ(status.inputs, 9U);
  EXPECT_EQ(status.failed, 3U);
}

TEST_F(StatusOfARun, CountsAnOutputOnceThatIsJournaledTwice) {
  journal("", 3, 0, {"a", "b"});
  journal("", 3, 1, {"b", "c"});
  const RunStatus status = run_status(out_);
  EXPECT_EQ(status.outputs, 3U);
  EXPECT_EQ(status.audio_seconds, 4.5);
  EXPECT_EQ(status.workers[0].done, 2U);
  EXPECT_EQ(status.workers[0].audio_seconds, 3.0);
  EXPECT_EQ(status.workers[0].finished, 1U);
}

TEST_F(StatusOfARun, ListsWorkersInTheOrderOfTheirNumbers) {
  for (const char* partition : {"10-of-11", "2-of-11", "0-of-2", "9-of-11"}) {
    journal(partition, 1, 0, {});
  }
  journal("x-of-3", 1, 0, {});
  journal("3", 1, 0, {});
  std::vector<std::string> partitions;
  for (const WorkerStatus& worker : run_status(out_).workers)
    partitions.push_back(worker.partition);
  EXPECT_THAT(partitions, ElementsAre("0-of-2", "2-of-11", "9-of-11", "10-of-11"));
}

TEST_F(StatusOfARun, KnowsAllInputsWhenEveryPartitionHasBegun) {
  journal("", 100, 0, {"old"}, "elsewhere", 1, 500);  // an earlier way of sharing
  write_text(out_ + "/failures.jsonl", "{}\n");
  journal("1-of-2", 30, 0, {"a"}, "elsewhere", 1, 100);
  write_text(out_ + "/failures.1-of-2.jsonl", "{}\n{}\n");
  EXPECT_EQ(run_status(out_).inputs, 0U);
  EXPECT_EQ(run_status(out_).failed, 2U);
  journal("0-of-2", 31, 0, {"b"}, "elsewhere", 1, 90);
  const RunStatus status = run_status(out_);
  EXPECT_EQ(status.inputs, 61U);
  EXPECT_EQ(status.failed, 2U);
  EXPECT_EQ(status.outputs, 3U);
}

TEST_F(StatusOfARun, KnowsWhetherAWorkerOfThisHostIsAlive) {
  const pid_t child = ::fork();
  if (child == 0) ::_exit(0);
  ASSERT_EQ(::waitpid(child, nullptr, 0), child);
  journal("0-of-3", 1, 0, {}, host_name(), ::getpid());
  journal("1-of-3", 1, 0, {}, host_name(), child);
  journal("2-of-3", 1, 0, {}, "elsewhere", ::getpid());
  const RunStatus status = run_status(out_);
  EXPECT_TRUE(status.workers[0].alive);
  EXPECT_FALSE(status.workers[1].alive);
  EXPECT_FALSE(status.workers[2].alive);
}

TEST_F(StatusOfARun, TellsProcessesOfOtherNamespacesAndBootsApart) {
  const auto is_alive = [&](const std::string& boot, const std::string& pid_namespace) {
    write_text(out_ + "/journal.jsonl", "{\"inputs\":1,\"finished\":0,\"host\":\"" + host_name() +
                                            "\",\"pid\":" + std::to_string(::getpid()) +
                                            ",\"boot\":\"" + boot + "\",\"pid_namespace\":\"" +
                                            pid_namespace + "\"}\n");
    return run_status(out_).workers.at(0).alive;
  };
  const Kernel& here = this_kernel();
  EXPECT_TRUE(is_alive(here.boot, here.pid_namespace));
  EXPECT_FALSE(is_alive(here.boot, "0badcafe"));
  EXPECT_FALSE(is_alive("0badcafe", here.pid_namespace));
}

TEST_F(StatusOfARun, PassesOverWhatIsRecordedOfAnotherRun) {
  journal("", 9, 0, {"a", "b"});
  std::string lines = read_text(out_ + "/journal.jsonl");
  for (std::size_t at = lines.find("}\n"); at != std::string::npos; at = lines.find("}\n", at)) {
    lines.insert(at, ",\"fingerprint\":\"of another run\"");
    at = lines.find("}\n", at) + 1;
  }
  write_text(out_ + "/journal.jsonl", lines);
  const RunStatus status = run_status(out_);
  EXPECT_EQ(status.outputs, 0U);
  EXPECT_EQ(status.inputs, 0U);
  EXPECT_EQ(status.audio_seconds, 0.0);
  ASSERT_THAT(status.workers, SizeIs(1));
  EXPECT_EQ(status.workers[0].done, 0U);
}

TEST_F(StatusOfARun, KnowsSinceWhenAJournalIsSilent) {
  journal("", 1, 0, {}, "elsewhere", 1, 1000);
  EXPECT_GE(run_status(out_).workers[0].silent_seconds, 1000.0);
  journal("", 1, 0, {}, "elsewhere", 1, -1000);  // a clock that is ahead
  EXPECT_EQ(run_status(out_).workers[0].silent_seconds, 0.0);
}

TEST_F(StatusOfARun, IsAnErrorWithoutARecord) {
  EXPECT_THAT(run_status(out_).workers, IsEmpty());
  EXPECT_EQ(run_status(out_).inputs, 0U);
  fs::remove(out_ + "/run.json");
  EXPECT_THROW(run_status(out_), UsageError);
  EXPECT_THROW(verify_run(out_, 1, {}), UsageError);
}

// With outputs of every form that a run may have.
class VerifiedRun : public ::testing::TestWithParam<std::size_t> {
 protected:
  void SetUp() override {
    RunDirectory directory(out_, made_run(GetParam()));
    const auto outputs = make_outputs(inputs_, kContent, directory);
    directory.start(inputs_.size(), outputs->scan({}, false).finished);
    for (std::size_t i = 0; i < inputs_.size(); ++i) {
      Output output = made_output(inputs_, *outputs, i);
      outputs->write(output);
    }
    outputs->finish();
    path_ = outputs->path_of(1);
  }
  bool sharded() const { return GetParam() > 0; }
  Verification verify() {
    messages_.clear();
    steps_.clear();
    VerifyEvents events;
    events.bad = [this](const std::string& message) { messages_.push_back(message); };
    events.progress = [this](std::size_t done, std::size_t total) {
      steps_.push_back(done);
      total_ = total;
    };
    return verify_run(out_ + "/", 2, events);
  }
  const TemporaryDirectory scratch_;
  const std::string out_ = scratch_ / "out";
  const InputList inputs_ = made_inputs(5);
  std::string path_;
  std::vector<std::string> messages_;
  std::vector<std::size_t> steps_;
  std::size_t total_ = 0;
};

TEST_P(VerifiedRun, IsWhole) {
  const Verification result = verify();
  EXPECT_EQ(result.outputs, sharded() ? 2U : 5U);
  EXPECT_EQ(result.bad, 0U);
  EXPECT_EQ(result.missing, 0U);
  EXPECT_GT(result.gigabytes, 0.0);
  EXPECT_LT(result.gigabytes, 1e-4);
  EXPECT_THAT(messages_, IsEmpty());
  EXPECT_EQ(steps_.size(), result.outputs);
  EXPECT_EQ(steps_.back(), result.outputs);
  EXPECT_EQ(total_, result.outputs);
  EXPECT_EQ(run_status(out_).outputs, 5U);
  EXPECT_EQ(run_status(out_).audio_seconds, 2.0 + 3 + 4 + 5 + 6);
}

TEST_P(VerifiedRun, EndsTheThreadsThatItHasWhenAnotherOneCannotStart) {
  const ThreadLimit limit(1);  // of two
  EXPECT_THROW(verify(), std::system_error);
}

TEST_P(VerifiedRun, HasABadOutputWhereAByteChanged) {
  std::string changed = read_text(path_);
  changed.back() ^= 1;
  write_text(path_, changed);
  const Verification result = verify();
  EXPECT_EQ(result.bad, 1U);
  EXPECT_EQ(result.missing, 0U);
  EXPECT_THAT(messages_, ElementsAre(HasSubstr("holds other data than were written")));
}

TEST_P(VerifiedRun, MissesTheOutputsOfAFileThatIsGone) {
  fs::remove(path_);
  const Verification result = verify();
  EXPECT_EQ(result.missing, sharded() ? 3U : 1U);
  EXPECT_EQ(run_status(out_).outputs, sharded() ? 2U : 4U);
  EXPECT_EQ(result.bad, 0U);
  EXPECT_THAT(messages_, SizeIs(result.missing));
}

TEST_P(VerifiedRun, MissesTheOutputsOfAFileThatIsALink) {
  fs::rename(path_, scratch_ / "elsewhere");
  fs::create_symlink(scratch_ / "elsewhere", path_);
  const Verification result = verify();
  EXPECT_EQ(result.missing, sharded() ? 3U : 1U);
  EXPECT_EQ(result.bad, 0U);
  EXPECT_THAT(messages_[0], HasSubstr(sharded() ? "is in no shard" : "is no regular file"));
  EXPECT_EQ(run_status(out_).outputs, sharded() ? 2U : 4U);
}

TEST_P(VerifiedRun, HasABadOutputOfAnotherRun) {
  Fingerprint other = made_run(GetParam());
  other.fields.emplace_back("dtype", "float64");
  write_text(out_ + "/run.json", run_record(other));
  EXPECT_EQ(verify().bad, sharded() ? 2U : 5U);
  EXPECT_THAT(messages_[0], HasSubstr("belongs to another run"));
}

TEST_P(VerifiedRun, HasABadShardWhoseIndexSaysSomethingElse) {
  if (!sharded()) return;
  write_text(out_ + "/shard-00000.jsonl", read_text(out_ + "/shard-00001.jsonl"));
  EXPECT_EQ(verify().bad, 1U);
  EXPECT_THAT(messages_, ElementsAre(HasSubstr("says something else")));
  fs::remove(out_ + "/shard-00000.jsonl");
  EXPECT_EQ(verify().bad, 1U);
}

TEST_P(VerifiedRun, CountsFilesThatAreNotItsOwn) {
  write_raw_safetensors(out_ + "/weights.safetensors", "{}", "");
  write_text(out_ + "/notes.safetensors", "which nobody has a copy of");
  // A run of its own below, with a damaged output; and another program's run.json.
  fs::create_directory(out_ + "/below");
  fs::create_directory(out_ + "/below/deeper");
  Fingerprint other = made_run(GetParam());
  other.fields.emplace_back("dtype", "float64");
  write_text(out_ + "/below/run.json", run_record(other));
  fs::copy(path_, out_ + "/below/deeper/a.safetensors");
  fs::resize_file(out_ + "/below/deeper/a.safetensors", fs::file_size(path_) - 1);
  fs::create_directory(out_ + "/elsewhere");
  write_text(out_ + "/elsewhere/run.json", "{\"loss\": 0.1}");
  const Verification result = verify();
  EXPECT_EQ(result.bad + result.missing + result.unreadable, 0U);
  EXPECT_EQ(result.foreign, 3U);
  EXPECT_EQ(result.outputs, sharded() ? 2U : 5U);
  EXPECT_EQ(result.whole, result.outputs);
  EXPECT_THAT(messages_, IsEmpty());
  EXPECT_EQ(run_status(out_).outputs, 5U);
}

// A damaged output is bad also where nothing but itself says whose it is.
TEST_P(VerifiedRun, HasABadOutputThatNoRecordNames) {
  fs::remove(out_ + "/journal.jsonl");
  const std::string whole = read_text(path_);
  fs::resize_file(path_, whole.size() - 1);
  EXPECT_EQ(verify().bad, 1U);
  std::string changed = whole;
  changed[changed.find("\"fingerprint\":\"") + 15] ^= 1;
  write_text(path_, changed);
  EXPECT_EQ(verify().bad, 1U);
  EXPECT_EQ(verify().foreign, 0U);
}

TEST_P(VerifiedRun, CannotBeReadWhereItsRecordIsNoFile) {
  const std::string record = out_ + "/run.json";
  for (const std::string kind : {"pipe", "folder", "device"}) {
    fs::remove(record);
    if (kind == "pipe") {
      ASSERT_EQ(::mkfifo(record.c_str(), 0600), 0);
    } else if (kind == "folder") {
      fs::create_directory(record);
    } else if (::mknod(record.c_str(), S_IFCHR | 0600, ::makedev(1, 3)) != 0) {
      continue;  // not root
    }
    EXPECT_THROW(run_status(out_), StorageError) << kind;
    EXPECT_THROW(verify(), StorageError) << kind;
    EXPECT_THROW(RunDirectory(out_, made_run(GetParam())), StorageError) << kind;
  }
}

TEST_P(VerifiedRun, PassesOverTemporaries) {
  write_text(out_ + "/.x.host.1.aaaa.safetensors", "");
  EXPECT_EQ(verify().bad, 0U);
}

INSTANTIATE_TEST_SUITE_P(Outputs, VerifiedRun, ::testing::Values(0, 3), [](const auto& of) {
  return std::string(of.param > 0 ? "InShards" : "InFiles");
});

}  // namespace
}  // namespace w2vbert::tool::testing
