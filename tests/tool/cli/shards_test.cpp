#include <ATen/ATen.h>
#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/file.h>
#include <unistd.h>

#include <chrono>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <thread>

#include "support/output_files.h"
#include "support/program.h"
#include "support/small_model.h"
#include "support/temporary_directory.h"
#include "support/write_clip.h"

namespace w2vbert::tool::testing {
namespace {

namespace fs = std::filesystem;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;
using ::testing::UnorderedElementsAre;

using Words = std::vector<std::string>;

// Five clips, three of them in the first shard.
class Shards : public ::testing::Test {
 protected:
  void SetUp() override {
    make_small_model(model_);
    for (int i = 0; i < 5; ++i) write_clip(clip(i), 6000 + 1000 * i, i);
  }
  std::string clip(int number) const {
    return scratch_ / "clips/" + std::to_string(number) + ".wav";
  }
  std::string shard(int number) const {
    return out_ + "/shard-0000" + std::to_string(number) + ".safetensors";
  }
  std::string index(int number) const {
    return out_ + "/shard-0000" + std::to_string(number) + ".jsonl";
  }
  Words words(const Words& more = {}, int clips = 5) const {
    Words all = {"extract", "--model", model_, "--output", out_, "--threads", "1"};
    for (int i = 0; i < clips; ++i) all.push_back(clip(i));
    all.insert(all.end(), more.begin(), more.end());
    return all;
  }
  Words sharded(const Words& more = {}, int clips = 5) const {
    Words all = words({"--shard-size", "3"}, clips);
    all.insert(all.end(), more.begin(), more.end());
    return all;
  }
  // What an undisturbed run writes.
  void write_expected(const Words& more = {}) {
    const std::string out = std::exchange(out_, scratch_ / "expected");
    ASSERT_EQ(run_program(sharded(more)).status, 0);
    out_ = out;
  }
  void expect_the_expected() const {
    for (const char* name : {"shard-00000", "shard-00001"}) {
      for (const char* ending : {".safetensors", ".jsonl"}) {
        const std::string file = std::string("/") + name + ending;
        EXPECT_EQ(content_of(out_ + file), content_of(scratch_ / "expected" + file)) << file;
      }
    }
  }

  TemporaryDirectory scratch_;
  std::string model_ = scratch_ / "model";
  std::string out_ = scratch_ / "out";
};

TEST_F(Shards, HoldWhatTheFilesOfEachClipHold) {
  for (const Words& more : {Words{}, Words{"--states", "1,3", "--output-dtype", "float16"}}) {
    out_ = scratch_ / "files" + std::to_string(more.size());
    ASSERT_EQ(run_program(words(more)).status, 0);
    const std::string files =
        std::exchange(out_, scratch_ / "shards" + std::to_string(more.size()));
    const Result result = run_program(sharded(more));
    ASSERT_EQ(result.status, 0) << result.err;
    EXPECT_THAT(
        files_in(out_),
        UnorderedElementsAre("run.json", "journal.jsonl", "shard-00000.safetensors",
                             "shard-00000.jsonl", "shard-00001.safetensors", "shard-00001.jsonl"));
    std::map<std::string, at::Tensor> all = tensors_of(shard(0));
    all.merge(tensors_of(shard(1)));
    std::size_t compared = 0;
    for (int i = 0; i < 5; ++i) {
      for (const auto& [name, tensor] :
           tensors_of(files + "/" + std::to_string(i) + ".safetensors")) {
        EXPECT_TRUE(at::equal(all.at(std::to_string(i) + "/" + name), tensor)) << i << " " << name;
        EXPECT_EQ(all.at(std::to_string(i) + "/" + name).scalar_type(), tensor.scalar_type());
        ++compared;
      }
    }
    EXPECT_EQ(compared, all.size());
    const auto lines = lines_of(index(1));
    ASSERT_THAT(lines, SizeIs(2));
    EXPECT_EQ(lines[0]["name"], "3");
    EXPECT_EQ(lines[0]["shard"], "shard-00001.safetensors");
    EXPECT_EQ(lines[0]["samples"], 9000);
    EXPECT_EQ(lines[0]["frames"], all.at("3/attention_mask").size(0));
    EXPECT_EQ(lines[1]["name"], "4");
    EXPECT_EQ(run_program({"verify", out_}).status, 0);
    EXPECT_EQ(nlohmann::json::parse(run_program({"status", out_, "--json"}).out)["outputs"], 5);
  }
}

TEST_F(Shards, AreNotTouchedWhenTheyAreWhole) {
  ASSERT_EQ(run_program(sharded()).status, 0);
  const Stamp first = stamp_of(shard(0)), second = stamp_of(shard(1)), lines = stamp_of(index(0));
  fs::remove(index(1));
  const Result again = run_program(sharded({"--json"}));
  ASSERT_EQ(again.status, 0) << again.err;
  EXPECT_EQ(nlohmann::json::parse(again.out)["done"], 0);
  EXPECT_EQ(nlohmann::json::parse(again.out)["finished_before"], 5);
  EXPECT_EQ(stamp_of(shard(0)), first);
  EXPECT_EQ(stamp_of(shard(1)), second);
  EXPECT_EQ(stamp_of(index(0)), lines);
  EXPECT_THAT(lines_of(index(1)), SizeIs(2));  // written again
}

TEST_F(Shards, TakeClipsLaterThatFailedBefore) {
  write_expected();
  fs::rename(clip(1), clip(9));
  const Result failed = run_program(sharded());
  EXPECT_EQ(failed.status, 3);
  EXPECT_THAT(failed.errors(), ElementsAre(HasSubstr("1.wav")));
  EXPECT_THAT(lines_of(index(0)), SizeIs(2));
  EXPECT_EQ(run_program({"verify", out_}).status, 0);

  const Stamp first = stamp_of(shard(0)), second = stamp_of(shard(1));
  EXPECT_EQ(run_program(sharded()).status, 3);  // still not there: nothing to write
  EXPECT_EQ(stamp_of(shard(0)), first);

  fs::rename(clip(9), clip(1));
  const Result again = run_program(sharded({"--json"}));
  ASSERT_EQ(again.status, 0) << again.err;
  EXPECT_EQ(nlohmann::json::parse(again.out)["done"], 1);
  EXPECT_EQ(stamp_of(shard(1)), second);
  expect_the_expected();
  EXPECT_EQ(run_program({"verify", out_}).status, 0);
}

TEST_F(Shards, TakeMoreRowsAtTheEndOfTheListAndNoOthers) {
  write_expected();
  ASSERT_EQ(run_program(sharded({}, 4)).status, 0);
  const Stamp first = stamp_of(shard(0));
  ASSERT_EQ(run_program(sharded()).status, 0);
  EXPECT_EQ(stamp_of(shard(0)), first);
  expect_the_expected();

  Words other = {"extract",   "--model", model_,         "--output", out_,
                 "--threads", "1",       "--shard-size", "3"};
  for (const int i : {0, 1, 4, 3, 2}) other.push_back(clip(i));
  const Result refused = run_program(other);
  EXPECT_EQ(refused.status, 2);
  EXPECT_THAT(refused.errors(),
              ElementsAre(AllOf(HasSubstr("shard-00000"), HasSubstr("the list"))));
  EXPECT_EQ(run_program(words()).status, 2);  // other runs
  EXPECT_EQ(run_program(words({"--shard-size", "4"})).status, 2);
  expect_the_expected();
}

TEST_F(Shards, AreRedoneWhenTheyAreDamaged) {
  write_expected();
  ASSERT_EQ(run_program(sharded()).status, 0);
  flip_byte(shard(0), 100);
  fs::resize_file(shard(1), fs::file_size(shard(1)) - 1);
  const Result verify = run_program({"verify", out_});
  EXPECT_EQ(verify.status, 5);
  EXPECT_THAT(verify.errors(),  // what the second one held cannot be known
              UnorderedElementsAre(AllOf(HasSubstr("shard-00000"), HasSubstr("other data")),
                                   HasSubstr("shard-00001"), HasSubstr(": 3: is in no shard"),
                                   HasSubstr(": 4: is in no shard")));
  ASSERT_EQ(run_program(sharded({"--verify"})).status, 0);
  expect_the_expected();

  // One that is to be completed, and holds other data than were written: never taken over.
  fs::remove(shard(0));
  fs::rename(clip(1), clip(9));
  ASSERT_EQ(run_program(sharded()).status, 3);
  fs::rename(clip(9), clip(1));
  flip_byte(shard(0), 100);
  const Result refused = run_program(sharded());
  EXPECT_EQ(refused.status, 5);
  EXPECT_THAT(refused.errors(),
              ElementsAre(AllOf(HasSubstr("shard-00000"), HasSubstr("--verify"))));
  ASSERT_EQ(run_program(sharded({"--verify"})).status, 0);
  expect_the_expected();

  std::ofstream(index(0), std::ios::app) << "{}\n";
  EXPECT_EQ(run_program({"verify", out_}).status, 5);
  ASSERT_EQ(run_program(sharded()).status, 0);
  expect_the_expected();
}

TEST_F(Shards, AreDividedAmongProcesses) {
  write_expected();
  std::size_t done = 0;
  for (const std::string rank : {"0", "1", "2"}) {
    const Result result = run_program(sharded({"--json", "--partition", rank + "/3"}));
    ASSERT_EQ(result.status, 0) << result.err;
    done += nlohmann::json::parse(result.out)["done"].get<std::size_t>();
  }
  EXPECT_EQ(done, 5U);
  expect_the_expected();
}

TEST_F(Shards, KeepWhatWasDoneBeforeASignal) {
  Words many = {"extract", "--model", model_, "--threads", "1", "--shard-size", "200"};
  for (int i = 0; i < 400; ++i) {
    const std::string path = scratch_ / "many/" + std::to_string(i) + ".wav";
    write_clip(path, 32000, i);
    many.push_back(path);
  }
  const auto run = [&](const std::string& out, const Conditions& conditions) {
    Words words = many;
    words.insert(words.end(), {"--output", out});
    return run_program(words, conditions);
  };
  ASSERT_EQ(run(scratch_ / "undisturbed", {}).status, 0);
  Conditions conditions;
  conditions.signal = SIGTERM;
  conditions.signal_after = index(0);  // some of the next shard are in the same batch
  const Result stopped = run(out_, conditions);
  ASSERT_EQ(stopped.status, 128 + SIGTERM) << stopped.err;
  const std::size_t before = lines_of(index(1)).size();
  EXPECT_GT(before, 0U);
  EXPECT_LT(before, 200U);
  const Result rest = run(out_, {});
  ASSERT_EQ(rest.status, 0) << rest.err;
  std::ofstream(out_ + "/journal.jsonl")
      << "";  // what a kill may cost: the shards say what is there
  EXPECT_THAT(run_program({"status", out_}).out, HasSubstr("400 outputs"));
  EXPECT_THAT(rest.err, HasSubstr(std::to_string(200 - before) + " clips done"));
  for (const char* file : {"/shard-00000.safetensors", "/shard-00001.safetensors"}) {
    EXPECT_EQ(content_of(out_ + file), content_of(scratch_ / "undisturbed" + file)) << file;
  }
}

TEST_F(Shards, SayWhatIsLockedWhileTheyWaitForIt) {
  ASSERT_EQ(run_program(sharded({}, 3)).status, 0);
  const int record = ::open((out_ + "/run.json").c_str(), O_RDONLY | O_CLOEXEC);
  ASSERT_EQ(::flock(record, LOCK_EX), 0);
  std::thread owner([&] {
    std::this_thread::sleep_for(std::chrono::seconds(5));
    std::ofstream(scratch_ / "now") << "";
  });
  Conditions conditions;
  conditions.signal = SIGTERM;
  conditions.signal_after = scratch_ / "now";
  const Result stopped = run_program(sharded(), conditions);
  owner.join();
  ::close(record);
  EXPECT_EQ(stopped.status, 128 + SIGTERM) << stopped.err;
  const std::string line = "run.json: is locked by another process, waiting for it\n";
  EXPECT_THAT(stopped.err, HasSubstr(line));
  EXPECT_EQ(stopped.err.find(line), stopped.err.rfind(line));
  EXPECT_THAT(stopped.err, HasSubstr("stopped by a signal"));
  EXPECT_EQ(run_program(sharded()).status, 0);
}

TEST_F(Shards, RefuseWhatTheyCannotHold) {
  const auto expect_error = [&](const Words& words, const std::string& part) {
    const Result result = run_program(words);
    EXPECT_EQ(result.status, 2) << result.err;
    EXPECT_THAT(result.errors(), ElementsAre(HasSubstr(part)));
    EXPECT_THAT(files_in(out_), IsEmpty());
  };
  for (const char* size : {"0", "-1", "x", "1e3", "100001"}) {
    expect_error(words({"--shard-size", size}), "--shard-size");
  }
  expect_error(sharded({"--output-format", "npy"}), "--shard-size");
}

TEST_F(Shards, HoldFeaturesToo) {
  Words features = {"features", "--output", out_, "--shard-size", "2"};
  for (int i = 0; i < 3; ++i) features.push_back(clip(i));
  ASSERT_EQ(run_program(features).status, 0);
  EXPECT_THAT(tensors_of(shard(0)),
              ElementsAre(::testing::Key("0/attention_mask"), ::testing::Key("0/input_features"),
                          ::testing::Key("1/attention_mask"), ::testing::Key("1/input_features")));
}

}  // namespace
}  // namespace w2vbert::tool::testing
