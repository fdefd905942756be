// Lists, directories and shares of them, through the program.
#include <ATen/ATen.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>
#include <set>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

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
using ::testing::Not;
using ::testing::SizeIs;
using ::testing::UnorderedElementsAre;

using Words = std::vector<std::string>;
using Variables = std::map<std::string, std::string>;

constexpr int kRate = 16000;

class Lists : public ::testing::Test {
 protected:
  std::string list(const std::string& name, const std::string& content) const {
    std::ofstream(scratch_ / name, std::ios::binary) << content;
    return scratch_ / name;
  }
  void clip(const std::string& name, int samples = 8000) const {
    write_clip(scratch_ / name, samples);
  }
  Result features(const Words& inputs, const Variables& variables = {}) const {
    Words words = {"features", "--output", out_, "--threads", "1"};
    words.insert(words.end(), inputs.begin(), inputs.end());
    Conditions conditions;
    conditions.environment = variables;
    return run_program(words, conditions);
  }
  // Names of the outputs, without their ending.
  std::vector<std::string> outputs() const {
    std::vector<std::string> names;
    for (const std::string& file : files_in(out_)) {
      if (file.ends_with(".safetensors")) names.push_back(file.substr(0, file.rfind('.')));
    }
    std::sort(names.begin(), names.end());
    return names;
  }
  std::int64_t rows(const std::string& name) const {
    return tensors_of(out_ + "/" + name + ".safetensors").at("input_features").size(0);
  }

  TemporaryDirectory scratch_;
  std::string out_ = scratch_ / "out";
};

// Before any work, not when the first of them is written.
TEST_F(Lists, AFileInThePlaceOfAFolderEndsTheRunBeforeItBegins) {
  clip("a.wav");
  for (const std::string name : {"run.json", "journal.jsonl", "failures.1-of-2.jsonl"}) {
    const Result result =
        features({"--manifest", list("wav.scp", name + "/b " + (scratch_ / "a.wav") + "\n")});
    EXPECT_EQ(result.status, 2) << result.err;
    EXPECT_THAT(result.err, HasSubstr("whose folder has the name of a file that a run keeps"));
    EXPECT_FALSE(fs::exists(out_));
  }
  const std::string rows = "run.json/b " + (scratch_ / "a.wav") + "\nb " + (scratch_ / "a.wav");
  const Result odd_row = features({"--manifest", list("wav.scp", rows + "\n")});
  EXPECT_EQ(odd_row.status, 3) << odd_row.err;  // one row is no reason not to do the others
  EXPECT_THAT(odd_row.errors(), ElementsAre(HasSubstr("line 1: ")));
  EXPECT_TRUE(fs::exists(out_ + "/b.safetensors"));
  fs::remove_all(out_);
  fs::create_directories(out_);
  list("out/notes", "mine");
  const Result result =
      features({"--manifest", list("wav.scp", "notes/b " + (scratch_ / "a.wav") + "\n")});
  EXPECT_EQ(result.status, 2) << result.err;
  EXPECT_THAT(result.err, HasSubstr("out/notes: is a file where a folder is needed"));
  EXPECT_THAT(files_in(out_), ElementsAre("notes"));
}

TEST_F(Lists, OfEachFormatAreRead) {
  clip("d/clips/a.wav");
  clip("d/clips/b.wav");
  const std::string array = R"([
  {"audio_filepath": "clips/a.wav"},
  {"audio_filepath": "clips/b.wav"}
])";
  for (const auto& [name, content] : std::vector<std::pair<std::string, std::string>>{
           {"list.txt", "clips/a.wav\nclips/b.wav\n"},
           {"train.tsv", scratch_ / "d\r\nclips/a.wav\t8000\r\nclips/b.wav\t8000\r\n"},
           {"validated.tsv", "client_id\tpath\n1\ta.wav\n2\tb.wav\n"},
           {"metadata.csv",
            "\xEF\xBB\xBF"
            "file_name,x\nclips/a.wav,\"y\nz\"\nclips/b.wav,\n"},
           {"metadata.jsonl",
            "{\"file_name\": \"clips/a.wav\"}\n{\"file_name\": \"clips/b.wav\"}\n"},
           {"list.json", array},
           {"home.txt", "~/d/clips/a.wav\n~/d/clips/b.wav"}}) {
    out_ = scratch_ / "out-" + name;
    const Result result =
        features({"--manifest", list("d/" + name, content)}, {{"HOME", scratch_.path()}});
    EXPECT_EQ(result.status, 0) << name << result.err;
    EXPECT_THAT(outputs(), ElementsAre("a", "b")) << name;
  }
}

TEST_F(Lists, GiveTheFirstSecondsWhereARowHasADurationAlone) {
  clip("a.wav", 2 * kRate);
  clip("whole.wav", 2 * kRate - 10);
  clip("short.wav", 2 * kRate);
  clip("plain.wav", 2 * kRate - 10);
  const std::string path = list("list.jsonl",
                                R"({"audio_filepath": "a.wav", "duration": 1.0}
{"audio_filepath": "whole.wav", "duration": 2.09}
{"audio_filepath": "short.wav", "duration": 2.2}
{"audio_filepath": "short.wav", "offset": 1.0, "duration": 1.05}
{"audio_filepath": "plain.wav"}
)");
  const Result result = features({"--manifest", path});
  EXPECT_EQ(result.status, 3);
  EXPECT_THAT(result.errors(), ElementsAre(AllOf(HasSubstr("short.wav"), HasSubstr("2.2 s"))));
  EXPECT_THAT(outputs(), ElementsAre("a", "plain", "short-0001000-0002050", "whole"));
  write_clip(scratch_ / "one.wav", kRate, 0);
  const std::string out = std::exchange(out_, scratch_ / "one");
  ASSERT_EQ(features({scratch_ / "one.wav"}).status, 0);
  const std::int64_t one_second = rows("one");
  out_ = out;
  EXPECT_EQ(rows("a"), one_second);
  EXPECT_EQ(rows("whole"), rows("plain"));
  EXPECT_EQ(rows("short-0001000-0002050"), one_second);
}

TEST_F(Lists, LoseAnOddRowAndNoOther) {
  clip("a.wav");
  clip("b.wav");
  fs::create_directories(scratch_ / "folder.wav");
  for (const auto& [name, content, odd] :
       std::vector<std::tuple<std::string, std::string, std::string>>{
           {"list.txt", "a.wav\nfolder.wav\nb.wav\n", "folder.wav"},
           {"train.tsv", scratch_.path() + "\na.wav\t1\nc.wav\nb.wav\t1\n", "train.tsv: line 3"},
           {"metadata.csv", "file_name,x\na.wav,\nc.wav\nb.wav,\n", "metadata.csv: line 3"},
           {"list.jsonl",
            "{\"audio_filepath\": \"a.wav\"}\n{\"audio_filepath\": \"c\n{\"file_name\": "
            "\"b.wav\"}\n",
            "list.jsonl: line 2"},
           {"wav.scp", "a a.wav\nc sph2pipe c.sph |\nb b.wav\n", "wav.scp: line 2"},
           {"bad.scp", "a a.wav\n../c b.wav\nb b.wav\n", "bad.scp: line 2"}}) {
    for (const Words& shards : {Words{}, Words{"--shard-size", "1"}}) {
      out_ = scratch_ / "out-" + name + std::to_string(shards.size());
      Words words = {"--manifest", list(name, content)};
      words.insert(words.end(), shards.begin(), shards.end());
      const Result result = features(words);
      EXPECT_EQ(result.status, 3) << name << result.err;
      EXPECT_THAT(result.errors(), ElementsAre(HasSubstr(odd))) << name;
      const auto failures = lines_of(out_ + "/failures.jsonl");
      ASSERT_THAT(failures, SizeIs(1)) << name;
      EXPECT_THAT(failures[0]["path"].get<std::string>(), HasSubstr(odd));
      if (shards.empty()) {
        EXPECT_THAT(outputs(), ElementsAre("a", "b")) << name;
      }
    }
  }
}

TEST_F(Lists, AreRefusedWhereTheyAreNone) {
  clip("a.wav");
  const std::string deep(5000, '/');
  for (const std::string& path :
       {scratch_ / "a.wav", list("empty.txt", "\n"), list("bad.jsonl", "no JSON\n[]\n"),
        scratch_ / "none.txt", deep + "list.txt", "/" + std::string(300, 'x')}) {
    const Result result = features({"--manifest", path});
    EXPECT_EQ(result.status, 2) << result.err;
    EXPECT_THAT(result.errors(), SizeIs(1)) << result.err;
  }
  EXPECT_FALSE(fs::exists(out_));
}

TEST_F(Lists, AreRefusedWhereAFileWouldBeInAFoldersPlace) {
  clip("a.wav");
  clip("b.wav");
  const auto scp = [&](const std::string& ending) {
    return list("wav.scp", "a a.wav\na" + ending + "/b b.wav\n");
  };
  for (const Words& words : {Words{"--manifest", scp(".safetensors")},
                             Words{"--manifest", scp(".safetensors"), "--partition", "0/2"}}) {
    const Result result = features(words);
    EXPECT_EQ(result.status, 2);
    EXPECT_THAT(result.errors(),
                ElementsAre(AllOf(HasSubstr("a.wav"), HasSubstr("\"a.safetensors/b\""))));
  }
  const Words npy = {"--manifest", scp(".npy"), "--output-format", "npy"};
  EXPECT_EQ(features(npy).status, 2);
  EXPECT_FALSE(fs::exists(out_));
  scp(".safetensors");
  EXPECT_EQ(features(npy).status, 0);
  // In shards there are no such files.
  fs::remove_all(out_);
  EXPECT_EQ(features({"--manifest", scp(".safetensors"), "--shard-size", "5"}).status, 0);
}

TEST_F(Lists, OfADirectorySayWhatTheyPassOver) {
  clip("in/a.wav");
  clip("elsewhere/b.wav");
  clip("in/.hidden.wav");
  std::ofstream(scratch_ / "in/notes.txt") << "x";
  fs::create_symlink(scratch_ / "elsewhere", scratch_ / "in/more");
  const Words words = {"--manifest", scratch_ / "in"};
  const Result result = features(words);
  EXPECT_EQ(result.status, 0) << result.err;
  EXPECT_THAT(result.err, HasSubstr("passed over: 1 .txt, 1 hidden\n"));
  EXPECT_THAT(outputs(), ElementsAre("a", "more/b"));

  fs::create_symlink("nowhere", scratch_ / "in/c.wav");
  Words quiet = words;
  quiet.emplace_back("--quiet");
  const Result failing = features(quiet);
  EXPECT_EQ(failing.status, 3);
  EXPECT_THAT(failing.errors(), ElementsAre(HasSubstr("c.wav")));
  EXPECT_THAT(failing.err, Not(HasSubstr("passed over")));
}

TEST_F(Lists, AreDividedByTheLauncherAndFilesAreNot) {
  std::string content;
  Words files;
  std::vector<std::string> all;
  for (int i = 0; i < 8; ++i) {
    const std::string name = std::to_string(i);
    clip("in/" + name + ".wav", 4000);
    content += "in/" + name + ".wav\n";
    files.push_back(scratch_ / "in/" + name + ".wav");
    all.push_back(name);
  }
  const std::string path = list("list.txt", content);
  for (const auto& [index, count] : std::vector<std::pair<std::string, std::string>>{
           {"RANK", "WORLD_SIZE"},
           {"OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE"},
           {"PMI_RANK", "PMI_SIZE"},
           {"SLURM_PROCID", "SLURM_STEP_NUM_TASKS"},
           {"SLURM_ARRAY_TASK_ID", "SLURM_ARRAY_TASK_COUNT"}}) {
    for (const Words& inputs : {Words{"--manifest", path}, Words{"--manifest", scratch_ / "in"}}) {
      std::multiset<std::string> done;
      for (const std::string task : {"0", "1", "2"}) {
        out_ = scratch_ / "out-" + index + task;
        const Result result = features(inputs, {{index, task}, {count, "3"}});
        ASSERT_EQ(result.status, 0) << result.err;
        EXPECT_THAT(result.err, HasSubstr("share " + task + "/3 by " + index + " and " + count));
        const auto names = outputs();
        done.insert(names.begin(), names.end());
        fs::remove_all(out_);
      }
      EXPECT_EQ(done, std::multiset<std::string>(all.begin(), all.end())) << index;
    }
    const Result named = features(files, {{index, "1"}, {count, "3"}});
    EXPECT_EQ(named.status, 0) << named.err;
    EXPECT_EQ(outputs(), all) << index;
    EXPECT_THAT(named.err, HasSubstr(index + " and " + count + " are ignored"));
    EXPECT_THAT(named.err, Not(HasSubstr("share")));
    fs::remove_all(out_);
    Words quiet = files;
    quiet.emplace_back("--quiet");
    EXPECT_THAT(features(quiet, {{index, "1"}, {count, "3"}}).err, IsEmpty());
  }

  out_ = scratch_ / "out-share";
  Words words = files;
  words.insert(words.end(), {"--partition", "1/3"});
  const Result share = features(words, {{"RANK", "0"}, {"WORLD_SIZE", "2"}});
  EXPECT_EQ(share.status, 0);
  EXPECT_THAT(share.err, AllOf(HasSubstr("share 1/3 by --partition"), Not(HasSubstr("RANK"))));
  EXPECT_LT(outputs().size(), 8U);
  EXPECT_TRUE(fs::exists(out_ + "/journal.1-of-3.jsonl"));
}

TEST_F(Lists, AreNotDividedBySilence) {
  clip("a.wav");
  const std::string path = list("list.txt", "a.wav\n");
  EXPECT_EQ(features({"--manifest", path}, {{"OMPI_COMM_WORLD_RANK", "0"}}).status, 2);
  const Result pmix = features({"--manifest", path}, {{"PMIX_RANK", "0"}});
  EXPECT_EQ(pmix.status, 0);
  EXPECT_THAT(pmix.err, HasSubstr("PMIX_RANK is ignored"));
  EXPECT_THAT(features({"--manifest", path}).err, Not(HasSubstr("share")));
}

}  // namespace
}  // namespace w2vbert::tool::testing
