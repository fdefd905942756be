#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <torch/utils.h>
#include <unistd.h>

#include <chrono>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>

#include "core/escaped_name.h"
#include "support/program.h"
#include "support/random_parameters.h"
#include "support/small_model.h"
#include "support/temporary_directory.h"
#include "support/write_clip.h"
#include "w2vbert/checkpoint/save_pretrained.h"
#include "w2vbert/models/wav2vec2_bert_for_ctc.h"

namespace w2vbert::tool::testing {
namespace {

namespace fs = std::filesystem;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;
using ::testing::SizeIs;
using ::testing::StartsWith;

using Words = std::vector<std::string>;

constexpr const char* kVocabulary = R"({"<pad>": 0, "|": 1, "a": 2, "b": 3, "<unk>": 4})";

std::string content_of(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}

std::vector<std::string> lines_of(const std::string& text) {
  std::istringstream stream(text);
  std::vector<std::string> lines;
  for (std::string line; std::getline(stream, line);) lines.push_back(line);
  return lines;
}

class Transcribe : public ::testing::Test {
 protected:
  void SetUp() override {
    make_small_model(model_);
    Wav2Vec2BertConfig config = Wav2Vec2BertConfig::from_pretrained(model_);
    config.vocab_size = 5;
    torch::manual_seed(0);
    Wav2Vec2BertForCTC model(config);
    randomize_parameters(*model, 2);
    {
      const torch::NoGradGuard no_grad;
      model->lm_head->weight.normal_();
    }
    save_pretrained(model, model_);
    write("vocab.json", kVocabulary);
    write_clip(a_, 16000, 1);
    write_clip(b_, 12345, 2);
  }

  void write(const std::string& name, const std::string& text) const {
    std::ofstream(model_ + "/" + name) << text;
  }
  Words words(const Words& more = {}) const {
    Words all = {"transcribe", a_, b_, "--model", model_, "--threads", "1"};
    all.insert(all.end(), more.begin(), more.end());
    return all;
  }
  void set_vocab_size(const nlohmann::json& size) const {
    auto config = nlohmann::json::parse(content_of(model_ + "/config.json"));
    config["vocab_size"] = size;
    write("config.json", config.dump());
  }
  // Ends with `status` and one error line; prints nothing.
  static void expect_error(const Words& words, int status,
                           const ::testing::Matcher<std::string>& line) {
    const Result result = run_program(words);
    EXPECT_EQ(result.status, status) << result.err;
    EXPECT_THAT(result.errors(), ElementsAre(line));
    EXPECT_THAT(result.out, IsEmpty());
  }

  TemporaryDirectory scratch_;
  std::string model_ = scratch_ / "model";
  std::string a_ = scratch_ / "clips/x/a.wav";
  std::string b_ = scratch_ / "clips/y/b.wav";
  std::string out_ = scratch_ / "out.jsonl";
};

TEST_F(Transcribe, PrintsPathAndTextOfEachFile) {
  const Result result = run_program(words());
  ASSERT_EQ(result.status, 0) << result.err;
  EXPECT_THAT(lines_of(result.out), ElementsAre(StartsWith(a_ + "\t"), StartsWith(b_ + "\t")));
  EXPECT_THAT(result.err, HasSubstr("2 clips done, 0 failed"));
  const Result quiet = run_program(words({"--quiet"}));
  EXPECT_EQ(quiet.out, result.out);
  EXPECT_THAT(quiet.err, IsEmpty());
}

TEST_F(Transcribe, ReadsTheTokenizerAsTheReleaseOfTransformersDoes) {
  write("tokenizer_config.json",
        R"({"unk_token": null, "extra_special_tokens": [], "additional_special_tokens": ["<x>"]})");
  set_vocab_size(8);  // "<s>" is 5, "</s>" 6 and "<x>" 7, where it counts
  expect_error(words({"--hf-version", "5.17.0"}), 4, HasSubstr("has no token 7"));
  for (const char* release : {"5.18", "5.24.0"}) {
    expect_error(words({"--hf-version", release}), 4, HasSubstr("lm_head"));
  }
}

TEST_F(Transcribe, TakesEachChannelAndWhatIsLeftOfADamagedFile) {
  write_clip(b_, 12345, 2, 16000, 2);
  const Result each = run_program(words({"--channels", "each"}));
  ASSERT_EQ(each.status, 0) << each.err;
  EXPECT_THAT(lines_of(each.out), ElementsAre(StartsWith(a_ + "-ch1\t"), StartsWith(b_ + "-ch1\t"),
                                              StartsWith(b_ + "-ch2\t")));
  EXPECT_THAT(each.err, HasSubstr("2 clips of files with 2 channels: each is a clip of its own"));
  const auto lines = lines_of(run_program(words({"--channels", "each", "--json"})).out);
  ASSERT_THAT(lines, SizeIs(3));
  EXPECT_EQ(nlohmann::json::parse(lines[2])["channel"], 2);
  fs::resize_file(a_, fs::file_size(a_) / 2);
  EXPECT_EQ(run_program(words()).status, 3);
  const Result salvaged = run_program(words({"--salvage"}));
  EXPECT_EQ(salvaged.status, 0);
  EXPECT_THAT(lines_of(salvaged.out), SizeIs(2));
  EXPECT_THAT(salvaged.err, AllOf(HasSubstr("a.wav: is truncated"), HasSubstr("are lost"),
                                  HasSubstr("the first is used")));
}

// The adapter of a CTC model over the encoder that it was trained on, and over a model of another
// language: its head and its vocabulary count.
TEST_F(Transcribe, TakesTheHeadAndTheVocabularyOfAnAdapter) {
  const std::string plain = run_program(words()).out;
  const std::string adapter = scratch_ / "adapter";
  fs::create_directories(adapter);
  std::ofstream(adapter + "/adapter_config.json")
      << R"({"peft_type": "LORA", "target_modules": [], "modules_to_save": ["lm_head"]})";
  const auto model_tensors = tensors_of(model_ + "/model.safetensors");
  NamedTensors head;
  for (const char* name : {"lm_head.weight", "lm_head.bias"}) {
    head.emplace_back("base_model.model." + std::string(name), model_tensors.at(name));
  }
  write_safetensors(adapter + "/adapter_model.safetensors", head, {{"format", "pt"}});
  std::ofstream(adapter + "/vocab.json") << kVocabulary;

  change_tensors(model_ + "/model.safetensors", [](std::map<std::string, at::Tensor>& tensors) {
    tensors["lm_head.weight"] = at::ones({7, kSmallHiddenSize});
    tensors["lm_head.bias"] = at::ones({7});
  });
  write("vocab.json", R"({"<pad>": 0, "|": 1, "x": 2, "y": 3, "<unk>": 4, "z": 5, "w": 6})");
  set_vocab_size(7);
  const Result other = run_program(words({"--lora", adapter}));
  ASSERT_EQ(other.status, 0) << other.err;
  EXPECT_EQ(other.out, plain);
  EXPECT_THAT(other.err, AllOf(HasSubstr("lm_head.weight has shape (7, 32)"),
                               HasSubstr("vocab.json is not used: the adapter has its own")));

  change_tensors(model_ + "/model.safetensors", [](std::map<std::string, at::Tensor>& tensors) {
    tensors.erase("lm_head.weight");
    tensors.erase("lm_head.bias");
  });
  fs::remove(model_ + "/vocab.json");
  set_vocab_size(nullptr);
  const Result bare = run_program(words({"--lora", adapter, "--quiet"}));
  ASSERT_EQ(bare.status, 0) << bare.err;
  EXPECT_EQ(bare.out, plain);
  EXPECT_THAT(bare.err, IsEmpty());
}

TEST_F(Transcribe, PrintsALineOfJsonForEachFile) {
  const Result result = run_program(words({"--json"}));
  ASSERT_EQ(result.status, 0) << result.err;
  const auto lines = lines_of(result.out);
  ASSERT_THAT(lines, SizeIs(2));
  const auto clip = nlohmann::json::parse(lines[0]);
  EXPECT_EQ(clip["path"], a_);
  EXPECT_EQ(clip["seconds"], 1.0);
  ASSERT_FALSE(clip["words"].empty());
  for (const auto& word : clip["words"]) {
    EXPECT_LT(word["start"], word["end"]);
    EXPECT_LE(word["end"], 1.0);
    EXPECT_THAT(clip["text"].get<std::string>(), HasSubstr(word["word"].get<std::string>()));
  }
}

TEST_F(Transcribe, TakesTwoFilesOfOneName) {
  const std::string same = scratch_ / "clips/x/a.flac";  // by its content a WAV
  fs::copy_file(a_, same);
  const Result result =
      run_program({"transcribe", a_, same, a_, "--model", model_, "--threads", "1"});
  ASSERT_EQ(result.status, 0) << result.err;
  EXPECT_THAT(lines_of(result.out), SizeIs(3));
}

TEST_F(Transcribe, ReadsAManifest) {
  std::ofstream(scratch_ / "list.txt") << "clips/y/b.wav\nclips/x/a.wav\n";
  const Result result = run_program(
      {"transcribe", "--manifest", scratch_ / "list.txt", "--model", model_, "--threads", "1"});
  ASSERT_EQ(result.status, 0) << result.err;
  EXPECT_THAT(lines_of(result.out), ElementsAre(StartsWith(b_ + "\t"), StartsWith(a_ + "\t")));
}

TEST_F(Transcribe, ReadsTheBeginningOfAFileWhoseRowHasADurationAlone) {
  std::ofstream(scratch_ / "list.jsonl")
      << R"({"audio_filepath": "clips/x/a.wav", "duration": 0.5})"
      << "\n{\n";
  const Result result = run_program({"transcribe", "--manifest", scratch_ / "list.jsonl", "--model",
                                     model_, "--threads", "1", "--json"});
  EXPECT_EQ(result.status, 3);
  EXPECT_THAT(result.errors(), ElementsAre(HasSubstr("list.jsonl: line 2: ")));
  const auto clip = nlohmann::json::parse(result.out);
  EXPECT_EQ(clip["seconds"], 0.5);
  EXPECT_FALSE(clip.contains("offset"));
}

// Two rows of one name stay in one list, which extract would refuse.
TEST_F(Transcribe, DividesAListAmongProcesses) {
  std::ofstream list(scratch_ / "list.txt");
  std::vector<std::string> expected;
  for (int i = 0; i < 8; ++i) {
    const std::string path = scratch_ / "clips/" + std::to_string(i) + ".wav";
    write_clip(path, 4000, i);
    list << path << "\n" << path << "\n";
    expected.insert(expected.end(), 2, path);
  }
  list << std::string(70000, 'x') << "\n";
  list.close();
  const Words divided = {"transcribe", "--manifest", scratch_ / "list.txt", "--model", model_,
                         "--threads",  "1"};
  std::vector<std::string> printed, written, errors;
  for (const std::string rank : {"0", "1", "2"}) {
    Conditions conditions;
    conditions.environment = {{"OMPI_COMM_WORLD_RANK", rank}, {"OMPI_COMM_WORLD_SIZE", "3"}};
    const Result result = run_program(divided, conditions);
    EXPECT_THAT(result.status, ::testing::AnyOf(0, 3)) << result.err;
    EXPECT_THAT(result.err, HasSubstr("share " + rank + "/3 by OMPI_COMM_WORLD_RANK and"));
    for (const std::string& line : lines_of(result.out)) {
      printed.push_back(line.substr(0, line.find('\t')));
    }
    for (const std::string& line : result.errors()) errors.push_back(line);

    Words words = divided;
    words.insert(words.end(), {"--partition", rank + "/3", "--output", out_, "--quiet"});
    EXPECT_EQ(run_program(words).status, result.status);
    for (const std::string& line : lines_of(content_of(scratch_ / "out." + rank + "-of-3.jsonl"))) {
      written.push_back(nlohmann::json::parse(line)["path"]);
    }
  }
  EXPECT_THAT(printed, ::testing::UnorderedElementsAreArray(expected));
  EXPECT_THAT(written, ::testing::UnorderedElementsAreArray(expected));
  EXPECT_THAT(errors, ElementsAre(HasSubstr("list.txt: line 17: is longer than")));
  EXPECT_FALSE(fs::exists(out_));

  Conditions array;
  array.environment = {{"SLURM_ARRAY_TASK_ID", "1"}, {"SLURM_ARRAY_TASK_COUNT", "3"}};
  const Result named = run_program(words(), array);
  EXPECT_THAT(lines_of(named.out), SizeIs(2));
  EXPECT_THAT(named.err, HasSubstr("SLURM_ARRAY_TASK_COUNT are ignored"));
}

TEST_F(Transcribe, WritesTheLinesToAFileInstead) {
  std::ofstream(out_) << "";
  const std::string lines = run_program(words({"--json"})).out;
  const Result result = run_program(words({"--output", out_}));
  ASSERT_EQ(result.status, 0) << result.err;
  EXPECT_THAT(result.out, IsEmpty());
  EXPECT_EQ(content_of(out_), lines);
  ASSERT_EQ(run_program({"transcribe", a_, "--model", model_, "--output", out_}).status, 0);
  EXPECT_THAT(lines_of(content_of(out_)), SizeIs(1));
}

// A mount that is gone, for example.
TEST_F(Transcribe, KeepsTheLinesOfInputsThatFail) {
  const std::string c = scratch_ / "clips/y/c.wav";
  write_clip(c, 9000, 3);
  const auto list = [&](const std::string& rows) {
    std::ofstream(scratch_ / "list.jsonl") << rows;
  };
  const auto row = [](const std::string& path, const std::string& more = "") {
    return R"({"audio_filepath": ")" + path + "\"" + more + "}\n";
  };
  const auto transcribed = [&](const Words& more = {}) {
    Words words = {"transcribe", "--manifest", scratch_ / "list.jsonl",
                   "--model",    model_,       "--threads",
                   "1",          "--output",   out_};
    words.insert(words.end(), more.begin(), more.end());
    return run_program(words);
  };
  const std::string whole = row(c) + row(a_) + row(a_, R"(, "offset": 0.25, "duration": 0.5)") +
                            row(a_, R"(, "offset": 0.25, "duration": 0.7)") + row(b_);
  list(whole);
  ASSERT_EQ(transcribed().status, 0);
  const std::string before = content_of(out_);
  ASSERT_THAT(lines_of(before), SizeIs(5));

  fs::rename(scratch_ / "clips/x", scratch_ / "gone");
  Result result = transcribed();
  EXPECT_EQ(result.status, 3);
  EXPECT_THAT(result.err, HasSubstr("keeps 3 lines of an earlier call"));
  EXPECT_EQ(content_of(out_), before);
  fs::rename(scratch_ / "clips/y", scratch_ / "gone/y");
  EXPECT_EQ(transcribed().status, 3);
  EXPECT_EQ(content_of(out_), before);
  // One that has left the list goes, and so does a segment that is another one now.
  list(row(c) + row(a_) + row(a_, R"(, "offset": 0.25, "duration": 0.3)"));
  EXPECT_EQ(transcribed().status, 3);
  EXPECT_EQ(content_of(out_), lines_of(before)[0] + "\n" + lines_of(before)[1] + "\n");
  fs::rename(scratch_ / "gone/y", scratch_ / "clips/y");
  fs::rename(scratch_ / "gone", scratch_ / "clips/x");
  list(whole);
  EXPECT_EQ(transcribed().status, 0);
  EXPECT_EQ(content_of(out_), before);
}

TEST_F(Transcribe, KeepsTheLinesOfAllChannelsOfAFileThatFails) {
  write_clip(b_, 12345, 2, 16000, 2);
  const Words each = words({"--channels", "each", "--output", out_});
  ASSERT_EQ(run_program(each).status, 0);
  const std::string before = content_of(out_);
  ASSERT_THAT(lines_of(before), SizeIs(3));
  fs::rename(b_, scratch_ / "gone");
  EXPECT_EQ(run_program(each).status, 3);
  EXPECT_EQ(content_of(out_), before);
}

TEST_F(Transcribe, LeavesTheFileOfAnotherRun) {
  ASSERT_EQ(run_program(words({"--output", out_})).status, 0);
  const std::string before = content_of(out_);
  for (const Words& other :
       {Words{"--decoder", "beam"}, Words{"--chunk-seconds", "0.5"}, Words{"--dtype", "bfloat16"},
        Words{"--hf-version", "5.23"}, Words{"--channels", "each"}}) {
    Words all = words({"--output", out_});
    all.insert(all.end(), other.begin(), other.end());
    expect_error(all, 2, HasSubstr("the outputs here were made with"));
    EXPECT_EQ(content_of(out_), before);
  }
  ASSERT_EQ(run_program(words({"--output", out_, "--readers", "3"})).status, 0);
  // Another tokenizer: other texts of the same weights.
  const std::string vocabulary = model_ + "/vocab.json", kept = content_of(vocabulary);
  std::ofstream(vocabulary, std::ios::app) << "\n";
  expect_error(words({"--output", out_}), 2, HasSubstr("decoding_files"));
  std::ofstream(vocabulary) << kept;
  EXPECT_EQ(run_program(words({"--output", out_})).status, 0);
  EXPECT_EQ(content_of(out_), before);
  // Nor does another run take its answers where the file is gone.
  fs::rename(out_, scratch_ / "elsewhere");
  const Result other = run_program(words({"--output", out_, "--chunk-seconds", "0.5"}));
  EXPECT_EQ(other.status, 0);
  EXPECT_THAT(other.err, AllOf(HasSubstr("2 clips done"), Not(HasSubstr("answered"))));
  fs::rename(scratch_ / "elsewhere", out_);
  fs::remove(out_ + ".run.json");
  expect_error(words({"--output", out_}), 5, HasSubstr("out.jsonl.run.json"));
  fs::rename(out_, scratch_ / "elsewhere");
  const Result again = run_program(words({"--output", out_}));
  EXPECT_THAT(again.err, HasSubstr("2 clips were answered"));
  EXPECT_EQ(content_of(out_), before);
  // A corrected file.
  std::ofstream(out_, std::ios::app) << "\n";
  expect_error(words({"--output", out_}), 5, HasSubstr("was changed since"));
  EXPECT_EQ(content_of(out_), before + "\n");
}

// A call that was ended has written no file yet.
TEST_F(Transcribe, GoesOnWithWhatAnEarlierCallHasAnswered) {
  const auto transcribed = [&](int status) {
    Result result = run_program(words({"--output", out_}));
    EXPECT_EQ(result.status, status) << result.err;
    return result.err;
  };
  const std::string lines = run_program(words({"--json"})).out;
  fs::rename(b_, scratch_ / "gone");
  EXPECT_THAT(transcribed(3), Not(HasSubstr("earlier call")));
  EXPECT_THAT(content_of(out_ + ".failures.jsonl"), HasSubstr("\"kind\":\"not_found\""));
  fs::remove(out_);
  fs::rename(scratch_ / "gone", b_);
  EXPECT_THAT(transcribed(0), HasSubstr("1 clip was answered by an earlier call"));
  EXPECT_EQ(content_of(out_), lines);
  EXPECT_FALSE(fs::exists(out_ + ".failures.jsonl"));
  const auto written = fs::last_write_time(out_);
  EXPECT_THAT(transcribed(0), AllOf(HasSubstr("2 clips were answered"),
                                    HasSubstr("0 clips done, 0 failed"), Not(HasSubstr("share"))));
  EXPECT_EQ(fs::last_write_time(out_), written);

  // The same bytes at another time, and another clip.
  const auto journaled = [&] { return lines_of(content_of(out_ + ".journal.jsonl")).size(); };
  const std::size_t before = journaled();
  fs::last_write_time(a_, fs::last_write_time(a_) + std::chrono::hours(1));
  EXPECT_THAT(transcribed(0), HasSubstr("2 clips were answered"));
  EXPECT_EQ(journaled(), before + 1);  // with its new time
  EXPECT_THAT(transcribed(0), HasSubstr("2 clips were answered"));
  EXPECT_EQ(journaled(), before + 1);
  write_clip(b_, 12345, 7);
  EXPECT_THAT(transcribed(0), HasSubstr("1 clip was answered"));
  EXPECT_EQ(content_of(out_), run_program(words({"--json"})).out);
  EXPECT_NE(content_of(out_), lines);
  // The file is gone as well as an input: the journal has its line.
  const std::string both = content_of(out_);
  fs::remove(out_);
  fs::rename(b_, scratch_ / "gone");
  EXPECT_THAT(transcribed(3), HasSubstr("keeps 1 line"));
  EXPECT_EQ(content_of(out_), both);
  // One that is another one now and cannot be read has no line any more.
  std::ofstream(b_) << "no audio";
  EXPECT_THAT(transcribed(3), Not(HasSubstr("keeps")));
  EXPECT_THAT(lines_of(content_of(out_)), ElementsAre(lines_of(lines)[0]));
}

TEST_F(Transcribe, TakesNoAnswerThatIsNotAsItWasWritten) {
  const std::string journal = out_ + ".journal.jsonl";
  ASSERT_EQ(run_program(words({"--output", out_})).status, 0);
  const std::string before = content_of(out_), kept = content_of(journal);
  fs::remove(out_);
  const auto taken = [&](const std::string& text) {
    std::ofstream(journal) << text;
    const Result result = run_program(words({"--output", out_}));
    EXPECT_EQ(result.status, 0) << result.err;
    EXPECT_EQ(content_of(out_), before);
    fs::remove(out_);
    return result.err;
  };
  EXPECT_THAT(taken(kept), HasSubstr("2 clips were answered"));
  std::string changed = kept;
  changed.replace(changed.find("\"text\":\"") + 8, 1, "*");
  EXPECT_THAT(taken(changed), HasSubstr("1 clip was answered"));
  std::string of_another = kept;  // of the same bytes, perhaps
  of_another.replace(of_another.find("/b.wav"), 2, "/c");
  EXPECT_THAT(taken(of_another), HasSubstr("1 clip was answered"));
  EXPECT_THAT(taken(kept.substr(0, kept.size() - 3)), HasSubstr("1 clip was answered"));
  EXPECT_THAT(taken(kept + std::string(4096, '\0')), HasSubstr("2 clips were answered"));
  EXPECT_THAT(taken(""), Not(HasSubstr("answered")));
  std::ofstream(journal) << "Dear diary,\n";
  expect_error(words({"--output", out_}), 5, HasSubstr("out.jsonl.journal.jsonl"));
  EXPECT_EQ(content_of(journal), "Dear diary,\n");
}

TEST_F(Transcribe, KnowsTheRowsOfOneFileApart) {
  write_clip(b_, 16000, 2, 16000, 2);
  const auto row = [&](const std::string& more) {
    return R"({"audio_filepath": ")" + b_ + "\"" + more + "}\n";
  };
  std::ofstream(scratch_ / "list.jsonl")
      << row(R"(, "offset": 0, "duration": 0.5)") << row(R"(, "duration": 0.5)")
      << row(R"(, "offset": 0.25, "duration": 0.5)") << row(R"(, "offset": 0, "duration": 0.75)");
  for (const char* const channels : {"first", "each"}) {
    const std::string out = scratch_ / (std::string(channels) + ".jsonl");
    const Words words = {"transcribe", "--manifest", scratch_ / "list.jsonl",
                         "--model",    model_,       "--threads",
                         "1",          "--channels", channels,
                         "--output",   out};
    ASSERT_EQ(run_program(words).status, 0);
    const std::string before = content_of(out);
    ASSERT_THAT(lines_of(before), SizeIs(channels == std::string("each") ? 8 : 4));
    fs::remove(out);
    const Result again = run_program(words);
    EXPECT_THAT(again.err, HasSubstr("0 clips done, 0 failed"));
    EXPECT_EQ(content_of(out), before);
    fs::rename(b_, scratch_ / "gone");
    EXPECT_EQ(run_program(words).status, 3);
    EXPECT_THAT(lines_of(content_of(out)), ::testing::UnorderedElementsAreArray(lines_of(before)));
    // What is there is another file, and no audio.
    std::ofstream(b_) << "no audio";
    EXPECT_EQ(run_program(words).status, 3);
    EXPECT_EQ(content_of(out), "");
    fs::rename(scratch_ / "gone", b_);
    EXPECT_EQ(run_program(words).status, 0);
    EXPECT_EQ(content_of(out), before);
  }
}

TEST_F(Transcribe, KeepsALineOfAlignWhereItsTextIsTheSame) {
  const auto align = [&](const std::string& of_a, const std::string& of_b) {
    std::ofstream(scratch_ / "texts") << of_a << "\n" << of_b << "\n";
    return run_program({"align", a_, b_, "--text-file", scratch_ / "texts", "--model", model_,
                        "--threads", "1", "--output", out_});
  };
  Result result = align("ab", "ba");
  ASSERT_EQ(result.status, 0) << result.err;
  const std::vector<std::string> before = lines_of(content_of(out_));
  ASSERT_THAT(before, SizeIs(2));
  fs::rename(b_, scratch_ / "gone");
  EXPECT_EQ(align("ba", "ba").status, 3);
  EXPECT_THAT(lines_of(content_of(out_)), ElementsAre(::testing::Ne(before[0]), before[1]));
  EXPECT_EQ(align("ba", "ab").status, 3);
  EXPECT_THAT(lines_of(content_of(out_)), SizeIs(1));
  fs::rename(scratch_ / "gone", b_);
  // One clip with two texts.
  b_ = a_;
  EXPECT_EQ(align("ab ba", "abba").status, 0);
  EXPECT_THAT(align("ab ba", "abba").err, HasSubstr("2 clips were answered"));
}

TEST_F(Transcribe, KeepsTheLinesOfAFolderThatCannotBeListed) {
  if (::geteuid() == 0) GTEST_SKIP() << "root may list every folder";
  const Words all = {"transcribe", "--manifest", scratch_ / "clips", "--model", model_,
                     "--threads",  "1",          "--output",         out_};
  ASSERT_EQ(run_program(all).status, 0);
  const std::string before = content_of(out_);
  fs::permissions(scratch_ / "clips/y", fs::perms::none);
  EXPECT_EQ(run_program(all).status, 3);
  fs::permissions(scratch_ / "clips/y", fs::perms::owner_all);
  EXPECT_EQ(content_of(out_), before);
}

// Names in JSON can be turned back into the bytes that they are.
TEST_F(Transcribe, EscapesPathsSoThatNoTwoAreAlike) {
  const std::string byte = scratch_ / "clips/x\xff.wav", text = scratch_ / "clips/x\\xff.wav";
  fs::rename(a_, byte);
  fs::rename(b_, text);
  const Words both = {"transcribe", byte, text, "--model", model_, "--threads", "1"};
  Words printed = both, written = both;
  printed.emplace_back("--json");
  written.insert(written.end(), {"--output", out_});
  const Result result = run_program(printed);
  ASSERT_EQ(result.status, 0) << result.err;
  ASSERT_EQ(run_program(written).status, 0);
  EXPECT_EQ(content_of(out_), result.out);
  Words paths;
  for (const std::string& line : lines_of(result.out)) {
    paths.push_back(unescaped_name(nlohmann::json::parse(line)["path"].get<std::string>()));
  }
  EXPECT_THAT(paths, ElementsAre(byte, text));
  fs::remove(byte);
  EXPECT_EQ(run_program(written).status, 3);
  EXPECT_EQ(content_of(out_), result.out);
}

TEST_F(Transcribe, LeavesThePlaceOfAnInputThatIsMissing) {
  const std::string missing = scratch_ / "clips/x/none.wav";
  fs::create_directory_symlink(scratch_ / "clips", scratch_ / "alias");
  for (const std::string& output : {missing, scratch_ / "alias/x/none.wav"}) {
    expect_error({"transcribe", a_, missing, "--model", model_, "--output", output}, 2,
                 HasSubstr("is an input as well"));
    EXPECT_FALSE(fs::exists(missing));
  }
}

TEST_F(Transcribe, LeavesOtherFilesAlone) {
  std::ofstream(scratch_ / "list.txt") << a_ << "\n";
  std::ofstream(scratch_ / "notes") << "Dear diary,\n";
  std::ofstream(scratch_ / "other.jsonl") << "{\"path\": \"a\"}\n";
  const std::string line = R"({"path":"a","text":"b","seconds":1.0,"words":[])";
  std::ofstream(scratch_ / "more.jsonl") << line << R"(,"speaker":"c"})"
                                         << "\n";
  std::ofstream(scratch_ / "mixed.jsonl") << line << "}\n{\"mine\":1}\n";
  std::ofstream(scratch_ / "torn.jsonl") << line << "}\n" << line;
  fs::create_symlink(scratch_ / "notes", scratch_ / "link");
  fs::create_directory_symlink(model_, scratch_ / "alias");
  fs::create_hard_link(model_ + "/vocab.json", scratch_ / "vocabulary");
  const auto expect_left = [&](const std::string& place, int status) {
    const std::string before = content_of(place);
    const Result result = run_program({"transcribe", "--manifest", scratch_ / "list.txt", "--model",
                                       model_, "--output", place, "--threads", "1"});
    EXPECT_EQ(result.status, status) << place << ": " << result.err;
    EXPECT_THAT(result.errors(), ElementsAre(HasSubstr(place)));
    EXPECT_EQ(content_of(place), before) << place;
  };
  for (const std::string& place :
       {model_ + "/vocab.json", model_ + "/config.json", model_ + "/model.safetensors",
        scratch_ / "alias/vocab.json", scratch_ / "vocabulary", scratch_ / "list.txt",
        model_ + "/tokenizer_config.json"}) {
    expect_left(place, 2);
  }
  for (const char* name :
       {"notes", "link", "other.jsonl", "more.jsonl", "mixed.jsonl", "torn.jsonl"}) {
    expect_left(scratch_ / name, 5);
  }
}

TEST_F(Transcribe, KeepsItsVerdictWhereItsReaderIsGone) {
  Conditions gone;
  gone.stdout_reader_gone = true;
  EXPECT_EQ(run_program(words(), gone).status, 0);
  std::ofstream(scratch_ / "no-audio.wav") << "text";
  EXPECT_EQ(
      run_program({"transcribe", scratch_ / "no-audio.wav", a_, "--model", model_}, gone).status,
      3);
}

TEST_F(Transcribe, RefusesAPlaceThatIsNone) {
  expect_error(words({"--output", scratch_ / "none/out.jsonl"}), 5, HasSubstr("none"));
  expect_error(words({"--output", scratch_.path()}), 5, HasSubstr("no regular file"));
  // With a share's number they would be names.
  for (const std::string& no_file : {scratch_.path(), scratch_.path() + "/", scratch_ / ".."}) {
    expect_error(words({"--output", no_file, "--partition", "0/2"}), 5,
                 HasSubstr("expected the name of a file"));
  }
  const std::string before = content_of(b_);
  expect_error(words({"--output", b_}), 2, HasSubstr("is an input as well"));
  EXPECT_EQ(content_of(b_), before);
}

TEST_F(Transcribe, SeveralDevicesGiveTheLinesOfOne) {
  Words clips;
  for (int i = 0; i < 6; ++i) {
    clips.push_back(scratch_ / ("clip-" + std::to_string(i) + ".wav"));
    write_clip(clips.back(), 16000 + 4000 * i, i);
  }
  const auto lines_with = [&](const Words& more) {
    Words all = {"transcribe", "--model", model_, "--threads", "1", "--json"};
    all.insert(all.end(), clips.begin(), clips.end());
    all.insert(all.end(), more.begin(), more.end());
    const Result result = run_program(all);
    EXPECT_EQ(result.status, 0) << result.err;
    return lines_of(result.out);
  };
  const std::vector<std::string> one = lines_with({});
  EXPECT_THAT(one, SizeIs(6));
  EXPECT_EQ(lines_with({"--devices", "cpu,cpu"}), one);
}

TEST_F(Transcribe, SeveralReadersKeepTheListsOrder) {
  Words clips;
  for (int i = 0; i < 8; ++i) {
    clips.push_back(scratch_ / ("clip-" + std::to_string(7 - i) + ".wav"));
    write_clip(clips.back(), i == 0 ? 640'000 : 16'000, i);  // the first takes longest
  }
  clips[4] = scratch_ / "none.wav";
  const auto run_with = [&](const Words& more) {
    Words all = {"transcribe", "--model", model_, "--threads", "1", "--json"};
    all.insert(all.end(), clips.begin(), clips.end());
    all.insert(all.end(), more.begin(), more.end());
    Result result = run_program(all);
    EXPECT_EQ(result.status, 3) << result.err;
    return result.out;
  };
  const std::string one = run_with({"--readers", "1"});
  EXPECT_THAT(lines_of(one), SizeIs(7));
  EXPECT_THAT(lines_of(one).front(), HasSubstr("clip-7.wav"));
  EXPECT_EQ(run_with({"--readers", "6"}), one);
  expect_error(words({"--readers", "0"}), 2, HasSubstr("--readers"));
  expect_error(words({"--read-timeout", "0"}), 2, HasSubstr("--read-timeout"));
}

TEST_F(Transcribe, GoesOnAfterAFileThatFails) {
  const std::string text = scratch_ / "text.wav";
  std::ofstream(text) << "no audio";
  const Result result = run_program({"transcribe", a_, text, scratch_ / "none.wav", b_, "--model",
                                     model_, "--threads", "1", "--output", out_});
  EXPECT_EQ(result.status, 3);
  EXPECT_THAT(result.errors(), ElementsAre(HasSubstr("is no audio file"), HasSubstr("none.wav")));
  EXPECT_THAT(lines_of(content_of(out_)), SizeIs(2));
  expect_error({"transcribe", text, "--model", model_}, 3, HasSubstr("is no audio file"));
}

TEST_F(Transcribe, KeepsEachFileOnOneLine) {
  const std::string odd = scratch_ / "clips/a\tb\nc.wav";
  fs::copy_file(a_, odd);
  const Result result = run_program({"transcribe", odd, "--model", model_, "--threads", "1"});
  ASSERT_EQ(result.status, 0) << result.err;
  EXPECT_THAT(lines_of(result.out), ElementsAre(HasSubstr("a\\x09b\\x0ac.wav\t")));
}

TEST_F(Transcribe, RefusesAModelWithoutATokenizerOrAHead) {
  fs::remove(model_ + "/vocab.json");
  expect_error(words(), 4, HasSubstr("vocab.json: is missing"));
  // A token that the model has no output for is never said, as in HuggingFace's code.
  write("vocab.json", kVocabulary);
  const Result plain = run_program(words());
  write("vocab.json", R"({"<pad>": 0, "|": 1, "a": 2, "b": 3, "<unk>": 4, "c": 5})");
  const Result more = run_program(words());
  EXPECT_EQ(more.status, 0) << more.err;
  EXPECT_EQ(more.out, plain.out);
  write("vocab.json", kVocabulary);
  write("tokenizer_config.json", R"({"tokenizer_class": "BertTokenizer"})");
  expect_error(words(), 4, HasSubstr("tokenizer_class"));
  fs::remove(model_ + "/tokenizer_config.json");
  change_tensors(model_ + "/model.safetensors",
                 [](auto& tensors) { tensors.erase("lm_head.weight"); });
  expect_error(words(), 4, HasSubstr("lm_head.weight"));
  make_small_model(scratch_ / "bare");
  expect_error({"transcribe", a_, "--model", scratch_ / "bare"}, 4,
               HasSubstr("is Wav2Vec2BertModel, which has no head, expected Wav2Vec2BertForCTC"));
}

TEST_F(Transcribe, RefusesWordsThatMakeNoSense) {
  expect_error({"transcribe", "--model", model_}, 2, HasSubstr("AUDIO"));
  expect_error({"transcribe", a_}, 2, HasSubstr("--model"));
  expect_error(words({""}), 2, HasSubstr("an empty path"));
  expect_error(words({"--manifest", "x"}), 2, HasSubstr("--manifest"));
  expect_error(words({"--resampler", "x"}), 2, HasSubstr("--resampler"));
}

TEST_F(Transcribe, SaysWhichBlankItTakes) {
  write("tokenizer_config.json", R"({"pad_token": "<unk>"})");
  const Result result = run_program(words());
  EXPECT_EQ(result.status, 0);
  EXPECT_THAT(result.err, AllOf(HasSubstr("pad_token_id is 0"), HasSubstr("\"<unk>\" is 4")));
}

}  // namespace
}  // namespace w2vbert::tool::testing
