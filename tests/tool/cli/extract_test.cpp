#include <ATen/ATen.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <unistd.h>

#include <array>
#include <chrono>
#include <filesystem>
#include <fstream>
#include <limits>
#include <nlohmann/json.hpp>
#include <thread>

#include "support/output_files.h"
#include "support/program.h"
#include "support/small_model.h"
#include "support/temporary_directory.h"
#include "support/text_file.h"
#include "support/write_clip.h"

namespace w2vbert::tool::testing {
namespace {

namespace fs = std::filesystem;
using ::testing::AllOf;
using ::testing::Contains;
using ::testing::Each;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;
using ::testing::SizeIs;
using ::testing::UnorderedElementsAre;

using Words = std::vector<std::string>;

class Extract : public ::testing::Test {
 protected:
  void SetUp() override {
    make_small_model(model_);
    write_clip(a_, 16000, 1);
    write_clip(b_, 12345, 2);
  }

  Words words(const Words& more = {}) const {
    Words all = {"extract", a_, b_, "--model", model_, "--output", out_, "--threads", "1"};
    all.insert(all.end(), more.begin(), more.end());
    return all;
  }
  Words one(const std::string& path, const Words& more = {}) const {
    Words all = {"extract", path, "--model", model_, "--output", out_, "--threads", "1"};
    all.insert(all.end(), more.begin(), more.end());
    return all;
  }
  static Words with(Words words, const Words& more) {
    words.insert(words.end(), more.begin(), more.end());
    return words;
  }
  // Ends with `status` and one error line; leaves no output.
  void expect_error(const Words& words, int status, const ::testing::Matcher<std::string>& line,
                    const Conditions& conditions = {}) {
    const Result result = run_program(words, conditions);
    EXPECT_EQ(result.status, status) << result.err;
    EXPECT_THAT(result.errors(), ElementsAre(line));
    EXPECT_THAT(files_in(out_), IsEmpty());
  }

  TemporaryDirectory scratch_;
  std::string model_ = scratch_ / "model";
  std::string a_ = scratch_ / "clips/x/a.wav";
  std::string b_ = scratch_ / "clips/y/b.wav";
  std::string out_ = scratch_ / "out";
};

TEST_F(Extract, WritesTheLastHiddenStateAndTheMaskOfEachFile) {
  const Result result = run_program(words());
  ASSERT_EQ(result.status, 0) << result.err;
  EXPECT_THAT(result.out, IsEmpty());
  EXPECT_THAT(files_in(out_), UnorderedElementsAre("x/a.safetensors", "y/b.safetensors", "run.json",
                                                   "journal.jsonl"));
  const auto tensors = tensors_of(out_ + "/x/a.safetensors");
  ASSERT_THAT(tensors, SizeIs(2));
  // 16000 samples: 98 fbank frames, two to a row
  EXPECT_EQ(tensors.at("last_hidden_state").sizes(), at::IntArrayRef({49, kSmallHiddenSize}));
  EXPECT_EQ(tensors.at("last_hidden_state").scalar_type(), at::kFloat);
  EXPECT_EQ(tensors.at("attention_mask").sizes(), at::IntArrayRef({49}));
  EXPECT_EQ(tensors.at("attention_mask").scalar_type(), at::kLong);
}

TEST_F(Extract, WritesTheRowOfAnOddLastFrameWithMaskZero) {
  write_clip(a_, 16160, 1);  // 99 fbank frames
  ASSERT_EQ(run_program(one(a_)).status, 0);
  const auto tensors = tensors_of(out_ + "/a.safetensors");
  EXPECT_EQ(tensors.at("last_hidden_state").size(0), 50);
  EXPECT_EQ(tensors.at("attention_mask").sum().item<std::int64_t>(), 49);
}

TEST_F(Extract, WritesTheStatesAskedFor) {
  ASSERT_EQ(run_program(words({"--states", "all"})).status, 0);
  const auto all = tensors_of(out_ + "/x/a.safetensors");
  EXPECT_THAT(all, SizeIs(kSmallLayers + 2));
  out_ = scratch_ / "some";
  ASSERT_EQ(run_program(words({"--states", "2,0,2"})).status, 0);
  const auto some = tensors_of(out_ + "/x/a.safetensors");
  ASSERT_THAT(some, SizeIs(3));
  EXPECT_TRUE(at::equal(some.at("hidden_states.0"), all.at("hidden_states.0")));
  EXPECT_TRUE(at::equal(some.at("hidden_states.2"), all.at("hidden_states.2")));
  out_ = scratch_ / "last";
  ASSERT_EQ(run_program(words()).status, 0);
  EXPECT_TRUE(at::equal(tensors_of(out_ + "/x/a.safetensors").at("last_hidden_state"),
                        all.at("hidden_states.3")));
}

TEST_F(Extract, RefusesStatesThatTheModelHasNot) {
  expect_error(words({"--states", "4"}), 2, AllOf(HasSubstr("--states"), HasSubstr("0 to 3")));
  for (const std::string states : {"1,x", "1,", ",1", "-1", "-0", "1 ,2", "ALL", "1.0"}) {
    expect_error(words({"--states", states}), 2, HasSubstr("--states"));
  }
}

TEST_F(Extract, StoresWhatTheComputationTypeGives) {
  for (const auto& [name, dtype] :
       {std::pair{"bfloat16", at::kBFloat16}, std::pair{"float16", at::kHalf}}) {
    out_ = scratch_ / name;
    ASSERT_EQ(run_program(words({"--dtype", name})).status, 0);
    EXPECT_EQ(tensors_of(out_ + "/x/a.safetensors").at("last_hidden_state").scalar_type(), dtype);
  }
}

TEST_F(Extract, AppliesStatistics) {
  const at::Tensor mean = at::linspace(-1, 1, kSmallHiddenSize);
  const at::Tensor var = at::linspace(0.5, 2, kSmallHiddenSize);
  write_safetensors(scratch_ / "stats.safetensors", {{"mean", mean}, {"var", var}});
  ASSERT_EQ(run_program(words({"--states", "2"})).status, 0);
  const at::Tensor plain = tensors_of(out_ + "/x/a.safetensors").at("hidden_states.2");
  out_ = scratch_ / "normalised";
  ASSERT_EQ(run_program(words({"--states", "2", "--stats", scratch_ / "stats.safetensors"})).status,
            0);
  EXPECT_TRUE(at::equal(tensors_of(out_ + "/x/a.safetensors").at("hidden_states.2"),
                        (plain - mean) / at::sqrt(var)));
}

TEST_F(Extract, StoresTheTypeThatIsAskedForWhateverTheStatisticsHave) {
  const std::string stats = scratch_ / "stats.safetensors";
  const auto states = [&](const Words& more) {
    out_ += '1';
    EXPECT_EQ(run_program(one(a_, more)).status, 0);
    return tensors_of(out_ + "/a.safetensors").at("last_hidden_state");
  };
  for (const auto& [name, computed] :
       {std::pair{"float32", at::kFloat}, {"bfloat16", at::kBFloat16}, {"float16", at::kHalf}}) {
    const Words asked = {"--dtype", name};
    const at::Tensor plain = states(asked);
    for (const at::ScalarType dtype : {at::kFloat, at::kDouble, at::kBFloat16, at::kHalf}) {
      const at::Tensor mean = at::linspace(-1, 1, kSmallHiddenSize).to(dtype);
      const at::Tensor var = at::linspace(0.5, 2, kSmallHiddenSize).to(dtype);
      write_safetensors(stats, {{"mean", mean}, {"var", var}}, {}, IfPresent::kReplace);
      const at::Tensor normalised = (plain - mean) / at::sqrt(var);
      const at::Tensor stored = states(with(asked, {"--stats", stats}));
      EXPECT_EQ(stored.scalar_type(), computed) << name << " " << dtype;
      EXPECT_TRUE(at::equal(stored, normalised.to(computed))) << name << " " << dtype;
      // Spelt out it is the same run; no run of an earlier version, with wider outputs, is.
      EXPECT_THAT(run_program(one(a_, with(asked, {"--stats", stats, "--output-dtype", name}))).err,
                  HasSubstr("1 finished before"));
      const std::string record = content_of(out_ + "/run.json");
      EXPECT_EQ(record.find("\"output_dtype\"") != std::string::npos,
                normalised.scalar_type() != computed)
          << record;
      const at::Tensor wide = states(with(asked, {"--stats", stats, "--output-dtype", "float32"}));
      EXPECT_TRUE(at::equal(wide, normalised.to(at::kFloat))) << name << " " << dtype;
    }
  }
}

TEST_F(Extract, RefusesStatisticsThatDoNotFit) {
  const std::string stats = scratch_ / "stats.safetensors";
  expect_error(words({"--stats", stats}), 4, HasSubstr("stats.safetensors"));
  const std::string pickle = scratch_ / "stats.pt";  // as the projects publish it
  for (const char* beginning : {"PK\x03\x04", "\x80\x02}q"}) {
    std::ofstream(pickle, std::ios::trunc) << beginning << std::string(100, '.');
    expect_error(words({"--stats", pickle}), 4,
                 AllOf(HasSubstr("stats.pt: is a pickle"), HasSubstr("scripts/convert_stats.py"),
                       Not(HasSubstr("save_pretrained"))));
  }
  std::ofstream(pickle, std::ios::trunc)
      << std::string("PK\x03\x04", 4) << std::string(22, '.') << std::string("\x08\0\0\0", 4)
      << "mean.npy" << std::string(100, '.');
  expect_error(words({"--stats", pickle}), 4,
               AllOf(HasSubstr("NumPy's arrays"), Not(HasSubstr("convert_stats"))));
  write_safetensors(stats, {{"mean", at::zeros(kSmallHiddenSize)}});
  expect_error(words({"--stats", stats}), 4, HasSubstr("var: is missing"));
  write_safetensors(stats, {{"mean", at::zeros(kSmallHiddenSize)}, {"var", at::ones(5)}}, {},
                    IfPresent::kReplace);
  expect_error(words({"--stats", stats}), 4, HasSubstr("var"));
}

TEST_F(Extract, RefusesStatisticsThatMakeNothingOfTheStates) {
  const std::string stats = scratch_ / "stats.safetensors";
  const float infinity = std::numeric_limits<float>::infinity();
  const float nan = std::numeric_limits<float>::quiet_NaN();
  const auto expect_refused = [&](const char* name, float value, const std::string& shown,
                                  at::ScalarType dtype) {
    at::Tensor mean = at::zeros(kSmallHiddenSize, dtype), var = at::ones(kSmallHiddenSize, dtype);
    (name == std::string("mean") ? mean : var)[7] = value;
    write_safetensors(stats, {{"mean", mean}, {"var", var}}, {}, IfPresent::kReplace);
    expect_error(words({"--stats", stats}), 4,
                 HasSubstr("stats.safetensors: " + std::string(name) + ": holds " + shown +
                           " at index 7, expected finite numbers"));
  };
  for (const at::ScalarType dtype : {at::kFloat, at::kDouble, at::kBFloat16}) {
    expect_refused("var", 0, "0", dtype);
    expect_refused("var", -2, "-2", dtype);
    expect_refused("var", nan, "nan", dtype);
    expect_refused("var", infinity, "inf", dtype);
    expect_refused("mean", nan, "nan", dtype);
    expect_refused("mean", -infinity, "-inf", dtype);
  }
  expect_refused("var", 1e-40F, "9.99994610111476e-41", at::kFloat);  // not a normal number
  write_safetensors(stats, {{"mean", at::zeros(kSmallHiddenSize)}, {"var", at::ones({1, 32})}}, {},
                    IfPresent::kReplace);
  expect_error(words({"--stats", stats}), 4,
               HasSubstr("var: has dtype F32 and shape (1, 32), expected a float tensor of shape"));
  write_safetensors(
      stats,
      {{"mean", at::zeros(kSmallHiddenSize)}, {"var", at::ones(kSmallHiddenSize, at::kLong)}}, {},
      IfPresent::kReplace);
  expect_error(words({"--stats", stats}), 4, HasSubstr("var: has dtype I64"));
}

TEST_F(Extract, FailsAClipWhoseStatesAreBeyondTheTypeOfItsFile) {
  // Statistics that make the states some 1e6 times as large, and one model whose states are so.
  const std::string stats = scratch_ / "stats.safetensors";
  write_safetensors(
      stats, {{"mean", at::zeros(kSmallHiddenSize)}, {"var", at::full(kSmallHiddenSize, 1e-12)}});
  const auto expect_beyond = [&](const Words& more, const std::string& tensor,
                                 const std::string& option) {
    const Result result = run_program(one(a_, more));
    EXPECT_EQ(result.status, 3) << result.err;
    EXPECT_THAT(result.errors(),
                ElementsAre(AllOf(HasSubstr("x/a.wav: " + tensor + ": holds "),
                                  HasSubstr("float16"), HasSubstr("65504"), HasSubstr(option))));
    const auto failures = lines_of(out_ + "/failures.jsonl");
    ASSERT_THAT(failures, SizeIs(1));
    EXPECT_EQ(failures[0]["kind"], "range");
    EXPECT_EQ(failures[0]["stage"], "model");
    EXPECT_FALSE(fs::exists(out_ + "/a.safetensors"));
  };
  expect_beyond({"--stats", stats, "--output-dtype", "float16"}, "last_hidden_state",
                "(--output-dtype)");
  out_ = scratch_ / "state";
  expect_beyond({"--stats", stats, "--output-dtype", "float16", "--states", "1,2"},
                "hidden_states.1", "(--output-dtype)");
  for (const Words& more : {Words{"--output-dtype", "bfloat16"}, {}}) {
    out_ += '1';
    ASSERT_EQ(run_program(one(a_, with({"--stats", stats}, more))).status, 0);
    EXPECT_TRUE(
        tensors_of(out_ + "/a.safetensors").at("last_hidden_state").isfinite().all().item<bool>());
  }
  change_tensors(model_ + "/model.safetensors", [](auto& tensors) {
    tensors.at("encoder.layers.2.final_layer_norm.weight").mul_(1e6);
  });
  out_ = scratch_ / "model";
  expect_beyond({"--dtype", "float16"}, "last_hidden_state", "(--dtype)");
  out_ = scratch_ / "earlier";
  EXPECT_EQ(run_program(one(a_, {"--dtype", "float16", "--states", "2"})).status, 0);
  out_ = scratch_ / "wide";
  EXPECT_EQ(run_program(one(a_)).status, 0);
}

TEST_F(Extract, StoresAndTellsTheModelsOwnNan) {
  change_tensors(model_ + "/model.safetensors", [](auto& tensors) {
    tensors.at("encoder.layers.2.final_layer_norm.bias")[3] =
        std::numeric_limits<float>::quiet_NaN();
    tensors.at("encoder.layers.2.final_layer_norm.bias")[4] =
        std::numeric_limits<float>::infinity();
  });
  for (const Words& more : {Words{}, {"--output-dtype", "float16"}, {"--dtype", "bfloat16"}}) {
    out_ += '1';
    const auto result = run_program(one(a_, more));
    ASSERT_EQ(result.status, 0);
    EXPECT_THAT(result.err, HasSubstr("a.wav: the model gives NaN or infinity: last_hidden_state"));
    EXPECT_THAT(content_of(out_ + "/a.safetensors"),
                HasSubstr(R"("note":"the model gives NaN or infinity: last_hidden_state")"));
    const auto state = tensors_of(out_ + "/a.safetensors").at("last_hidden_state");
    EXPECT_TRUE(state.select(1, 3).isnan().all().item<bool>());
    EXPECT_TRUE(state.select(1, 4).isinf().all().item<bool>());
    EXPECT_EQ(state.isfinite().sum().item<std::int64_t>(), 49 * (kSmallHiddenSize - 2));
  }
}

TEST_F(Extract, GivesAsManyValuesOfTheMaskAsRows) {
  write_clip(b_, 16160, 2);  // the last frame is padding
  for (const bool adapter : {false, true}) {
    if (adapter) make_small_model(model_, R"("add_adapter": true)");
    for (const char* pool : {"1", "2", "3", "24", "25"}) {
      out_ = scratch_ / (std::string(adapter ? "adapter" : "plain") + pool);
      ASSERT_EQ(run_program(words({"--pool", pool})).status, 0) << pool;
      for (const char* name : {"/x/a.safetensors", "/y/b.safetensors"}) {
        const auto tensors = tensors_of(out_ + name);
        EXPECT_EQ(tensors.at("attention_mask").size(0), tensors.at("last_hidden_state").size(0))
            << pool << name;
      }
      const auto of_b = tensors_of(out_ + "/y/b.safetensors").at("attention_mask");
      if (pool == std::string("1") && !adapter) {
        EXPECT_EQ(of_b[49].item<std::int64_t>(), 0);
      }
    }
  }
}

TEST_F(Extract, RefusesToPoolMoreFramesThanThereAre) {
  const Result result = run_program(words({"--pool", "45"}));  // a has 49, b 38
  EXPECT_EQ(result.status, 3) << result.err;
  EXPECT_THAT(result.errors(),
              ElementsAre(AllOf(HasSubstr("y/b.wav: --pool: 45 frames make one row"),
                                HasSubstr("expected at most the clip's 38"))));
  EXPECT_EQ(tensors_of(out_ + "/x/a.safetensors").at("last_hidden_state").size(0), 1);
}

TEST_F(Extract, RunsAModelWhoseFeatureExtractorGivesNoMask) {
  write_clip(a_, 16160, 1);
  ASSERT_EQ(run_program(one(a_)).status, 0);
  const auto masked = tensors_of(out_ + "/a.safetensors");
  const std::string path = model_ + "/preprocessor_config.json";
  auto config = nlohmann::json::parse(content_of(path));
  config["return_attention_mask"] = false;
  std::ofstream(path) << config.dump();
  out_ = scratch_ / "unmasked";
  for (const Words& more : {Words{},
                            {"--engine", "reference"},
                            {"--shard-size", "2"},
                            {"--chunk-seconds", "0.5"},
                            {"--pool", "2"}}) {
    out_ += '1';
    ASSERT_EQ(run_program(one(a_, more)).status, 0);
  }
  // HF: the model gets no mask, and every frame counts.
  const auto unmasked = tensors_of(scratch_ / "unmasked1/a.safetensors");
  EXPECT_TRUE(unmasked.at("attention_mask").eq(1).all().item<bool>());
  EXPECT_EQ(unmasked.at("attention_mask").sizes(), masked.at("attention_mask").sizes());
  EXPECT_FALSE(at::equal(unmasked.at("last_hidden_state"), masked.at("last_hidden_state")));
  out_ = scratch_ / "features";
  ASSERT_EQ(run_program({"features", a_, "--output", out_, "--model", model_}).status, 0);
  const auto features = tensors_of(out_ + "/a.safetensors");
  EXPECT_THAT(features, SizeIs(1));
  EXPECT_EQ(features.at("input_features").sizes(), at::IntArrayRef({50, 160}));
  // With the mask it is another run.
  config["return_attention_mask"] = true;
  std::ofstream(path) << config.dump();
  EXPECT_EQ(run_program({"features", a_, "--output", out_, "--model", model_}).status, 2);
}

// The small model with as many layers as presets need.
class Presets : public Extract {
 protected:
  void SetUp() override {
    Extract::SetUp();
    make_small_model(model_, R"("num_hidden_layers": 24)");
    write_safetensors(stats_,
                      {{"mean", at::zeros(kSmallHiddenSize)}, {"var", at::ones(kSmallHiddenSize)}});
  }
  Words preset(const std::string& name, const Words& more = {}) const {
    Words all = one(a_, {"--preset", name});
    if (name.starts_with("indextts2") || name == "maskgct" || name == "dualcodec") {
      all = with(all, {"--stats", stats_});
    }
    return with(all, more);
  }
  std::string stats_ = scratch_ / "stats.safetensors";
};

TEST_F(Presets, TakeOptionsThatSayWhatTheyDoAndRefuseOthers) {
  struct Case {
    std::string preset, option, value;
    bool agrees;
  };
  const std::vector<Case> cases = {{"maskgct", "--channels", "first", false},
                                   {"maskgct", "--channels", "mix", true},
                                   {"maskgct", "--resampler", "soxr", true},
                                   {"maskgct", "--resampler", "sinc", false},
                                   {"maskgct", "--states", "17", true},
                                   {"maskgct", "--states", "16", false},
                                   {"maskgct", "--states", "all", false},
                                   {"dualcodec", "--resampler", "soxr", false},
                                   {"dualcodec", "--resampler", "sinc", true},
                                   {"indextts2", "--resampler", "soxr", false},
                                   {"indextts2", "--resampler", "sinc", false},
                                   {"xcodec2", "--channels", "first", false},
                                   {"neucodec", "--resampler", "sinc", false},
                                   {"tribev2", "--states", "mean:12-17,mean:18-24", true},
                                   {"tribev2", "--states", "mean:12-18", false},
                                   {"sidon", "--state-weights", stats_, false},
                                   {"sidon", "--states", "8", true},
                                   {"sidon", "--stats", stats_, false}};
  for (const Case& tried : cases) {
    out_ = scratch_ / (tried.preset + tried.option + fs::path(tried.value).filename().string());
    const Result result = run_program(preset(tried.preset, {tried.option, tried.value}));
    EXPECT_EQ(result.status, tried.agrees ? 0 : 2) << out_ << ": " << result.err;
    if (tried.agrees) continue;
    EXPECT_THAT(result.errors(), ElementsAre(AllOf(HasSubstr(tried.option + ": "),
                                                   HasSubstr("preset " + tried.preset))));
    EXPECT_THAT(files_in(out_), IsEmpty());
  }
}

TEST_F(Presets, AreFollowedWithoutOptionsBesideThem) {
  for (const char* name : {"maskgct", "dualcodec", "indextts2", "xcodec2", "sidon", "neucodec",
                           "tribev2", "audiotoken"}) {
    out_ = scratch_ / name;
    const Result result = run_program(preset(name));
    EXPECT_EQ(result.status, 0) << name << ": " << result.err;
  }
  // --pool goes before the preset's.
  out_ = scratch_ / "pooled";
  ASSERT_EQ(run_program(preset("dualcodec", {"--pool", "2"})).status, 0);
  EXPECT_EQ(tensors_of(out_ + "/a.safetensors").at("hidden_states.17").size(0), 24);
  EXPECT_EQ(tensors_of(scratch_ / "dualcodec/a.safetensors").at("hidden_states.17").size(0), 12);
}

TEST_F(Presets, AreNamedWhereTheModelHasTooFewLayers) {
  make_small_model(model_);
  const Result result = run_program(preset("sidon"));
  EXPECT_EQ(result.status, 2);
  EXPECT_THAT(result.errors(),
              ElementsAre(AllOf(HasSubstr("--preset: sidon takes state 8, the model's last is 3"),
                                ::testing::Not(HasSubstr("--states")))));
}

TEST_F(Extract, GivesTheSameBytesWhateverElseIsDone) {
  ASSERT_EQ(run_program(words()).status, 0);
  const std::string together = content_of(out_ + "/x/a.safetensors");
  out_ = scratch_ / "reversed";
  ASSERT_EQ(run_program({"extract", b_, a_, "--model", model_, "--output", out_, "--threads", "1"})
                .status,
            0);
  EXPECT_EQ(content_of(out_ + "/x/a.safetensors"), together);
  out_ = scratch_ / "again";
  ASSERT_EQ(run_program(words(), {.working_directory = "/tmp"}).status, 0);
  EXPECT_EQ(content_of(out_ + "/x/a.safetensors"), together);
  EXPECT_EQ(content_of(out_ + "/run.json"), content_of(scratch_ / "reversed" + "/run.json"));
}

TEST_F(Extract, ResumesWithoutTouchingWhatIsFinished) {
  ASSERT_EQ(run_program(words()).status, 0);
  const Stamp a = stamp_of(out_ + "/x/a.safetensors");
  const Stamp b = stamp_of(out_ + "/y/b.safetensors");
  const Stamp record = stamp_of(out_ + "/run.json");
  const std::string before = content_of(out_ + "/y/b.safetensors");
  Result again = run_program(words({"--json"}));
  ASSERT_EQ(again.status, 0) << again.err;
  EXPECT_EQ(nlohmann::json::parse(again.out)["finished_before"], 2);
  EXPECT_EQ(stamp_of(out_ + "/x/a.safetensors"), a);
  EXPECT_EQ(stamp_of(out_ + "/y/b.safetensors"), b);
  EXPECT_EQ(stamp_of(out_ + "/run.json"), record);

  fs::remove(out_ + "/x/a.safetensors");
  fs::resize_file(out_ + "/y/b.safetensors", before.size() - 1);
  again = run_program(words({"--json"}));
  ASSERT_EQ(again.status, 0) << again.err;
  const auto report = nlohmann::json::parse(again.out);
  EXPECT_EQ(report["done"], 2);
  EXPECT_EQ(report["redone"], 1);
  EXPECT_EQ(content_of(out_ + "/y/b.safetensors"), before);
}

TEST_F(Extract, NeedsNoWeightsWhenAllIsFinished) {
  ASSERT_EQ(run_program(words()).status, 0);
  const Stamp stamp = stamp_of(out_ + "/x/a.safetensors");
  EXPECT_EQ(run_program(words({"--threads=2"})).status, 2);  // --threads twice
  const Result again =
      run_program({"extract", a_, b_, "--model", model_, "--output", out_, "--threads", "2"});
  EXPECT_EQ(again.status, 0) << again.err;
  EXPECT_EQ(stamp_of(out_ + "/x/a.safetensors"), stamp);
}

TEST_F(Extract, FindsFlippedBitsWhenAskedTo) {
  ASSERT_EQ(run_program(words()).status, 0);
  const std::string path = out_ + "/x/a.safetensors";
  const std::string whole = content_of(path);
  std::string damaged = whole;
  damaged.back() = static_cast<char>(damaged.back() ^ 1);
  std::ofstream(path, std::ios::binary) << damaged;
  EXPECT_EQ(run_program(words()).status, 0);
  EXPECT_EQ(content_of(path), damaged);
  EXPECT_EQ(run_program(words({"--verify"})).status, 0);
  EXPECT_EQ(content_of(path), whole);
}

TEST_F(Extract, RemovesTheTemporariesOfDeadProcesses) {
  ASSERT_EQ(run_program(words()).status, 0);
  char host[256] = {};
  ASSERT_EQ(::gethostname(host, sizeof host - 1), 0);
  std::string name(host);
  std::replace(name.begin(), name.end(), '.', '-');
  // No process has this number: it is above the largest that Linux gives.
  const std::string dead = out_ + "/x/.a.safetensors." + name + ".999999999.0123456789abcdef.tmp";
  const std::string alive = out_ + "/x/.a.safetensors." + name + "." + std::to_string(::getpid()) +
                            ".0123456789abcdef.tmp";
  write_text(dead, "");
  write_text(alive, "");
  ASSERT_EQ(run_program(words()).status, 0);
  EXPECT_FALSE(fs::exists(dead));
  EXPECT_TRUE(fs::exists(alive));
}

// No release of transformers changes a bit of what is extracted.
TEST_F(Extract, NotesTheReleaseOfTransformersAndResumesWithAnother) {
  ASSERT_EQ(run_program(words()).status, 0);
  // The fingerprint depends on the order of the fields.
  const auto record = nlohmann::ordered_json::parse(content_of(out_ + "/run.json"));
  EXPECT_EQ(record["notes"]["hf_version"], "5.24");
  EXPECT_FALSE(record["fields"].contains("hf_version"));
  const Stamp stamp = stamp_of(out_ + "/x/a.safetensors");
  const Result resumed = run_program(words({"--hf-version", "5.17"}));
  EXPECT_EQ(resumed.status, 0) << resumed.err;
  EXPECT_EQ(stamp_of(out_ + "/x/a.safetensors"), stamp);
  // As earlier versions have left it.
  auto older = record;
  older.erase("notes");
  std::ofstream(out_ + "/run.json") << older.dump();
  EXPECT_EQ(run_program(words()).status, 0);
  EXPECT_EQ(stamp_of(out_ + "/x/a.safetensors"), stamp);
}

TEST_F(Extract, RefusesTheStateThatIsTheAdaptersWhereTheyAreTied) {
  auto config = nlohmann::json::parse(content_of(model_ + "/config.json"));
  config["add_adapter"] = true;
  config["tie_last_hidden_states"] = true;
  std::ofstream(model_ + "/config.json") << config.dump();
  for (const char* states : {"all", "3"}) {
    const Result result = run_program(words({"--states", states}));
    EXPECT_EQ(result.status, 2) << result.err;
    EXPECT_THAT(result.errors(),
                ElementsAre(AllOf(HasSubstr("--states: state 3 is what the adapter makes"),
                                  HasSubstr("tie_last_hidden_states"))));
    // The weights of the adapter are not there: nothing else is wrong before they are read.
    EXPECT_EQ(run_program(words({"--states", states, "--hf-version", "5.17"})).status, 4);
  }
  EXPECT_EQ(run_program(words({"--states", "2"})).status, 4);
}

TEST_F(Extract, RefusesTheDirectoryOfAnotherRunAndNamesTheField) {
  ASSERT_EQ(run_program(words()).status, 0);
  const auto expect_different = [&](const Words& words, const std::string& field) {
    const Stamp stamp = stamp_of(out_ + "/x/a.safetensors");
    const Result result = run_program(words);
    EXPECT_EQ(result.status, 2) << result.err;
    EXPECT_THAT(result.errors(), ElementsAre(HasSubstr("run.json: " + field + ": ")));
    EXPECT_EQ(stamp_of(out_ + "/x/a.safetensors"), stamp);
  };
  expect_different(words({"--states", "1"}), "states");
  expect_different(words({"--dtype", "bfloat16"}), "dtype");
  expect_different(words({"--engine", "reference"}), "engine");
  expect_different(words({"--resampler", "sinc"}), "resampler");
  expect_different(words({"--channels", "mix"}), "channels");
  expect_different({"features", a_, b_, "--output", out_}, "command");
  write_safetensors(scratch_ / "stats.safetensors",
                    {{"mean", at::zeros(kSmallHiddenSize)}, {"var", at::ones(kSmallHiddenSize)}});
  expect_different(words({"--stats", scratch_ / "stats.safetensors"}), "stats");
  // The attention that counts, by the option or by config.json.
  const auto attention = [&](const Words& more) {
    out_ += '1';
    EXPECT_EQ(run_program(words(with({"--engine", "reference"}, more))).status, 0);
    return nlohmann::json::parse(content_of(out_ + "/run.json"))["fields"]["attn_implementation"];
  };
  const std::string before = out_;
  EXPECT_EQ(attention({}), "sdpa");
  EXPECT_EQ(attention({"--attn-implementation", "eager"}), "eager");
  expect_different(words({"--engine", "reference"}), "attn_implementation");
  const std::string config = content_of(model_ + "/config.json");
  std::ofstream(model_ + "/config.json")
      << "{\"_attn_implementation\": \"eager\", " << config.substr(1);
  EXPECT_EQ(attention({}), "eager");
  EXPECT_EQ(attention({"--attn-implementation", "sdpa"}), "sdpa");
  std::ofstream(model_ + "/config.json") << config;
  out_ = before;
  // Any byte of the model.
  const std::string weights = model_ + "/model.safetensors";
  const auto size = static_cast<std::int64_t>(fs::file_size(weights));
  for (const std::int64_t from_end : {std::int64_t{2}, size / 2, size - 40'000}) {
    flip_byte(weights, from_end);
    expect_different(words(), "model");
    flip_byte(weights, from_end);
  }
  EXPECT_EQ(run_program(words()).status, 0);
}

TEST_F(Extract, RemembersADigestUntilTheFileChanges) {
  Conditions cached;
  cached.environment = {{"XDG_CACHE_HOME", scratch_ / "cache"}};
  const std::string digests = scratch_ / "cache/w2vbert/digests";
  // A file that has just changed is not trusted to stay as it is.
  const auto let_it_age = [] { std::this_thread::sleep_for(std::chrono::seconds(4)); };
  ASSERT_EQ(run_program(one(a_), cached).status, 0);
  EXPECT_THAT(files_in(digests), IsEmpty());  // the file may still be in the making
  let_it_age();
  ASSERT_EQ(run_program(one(a_), cached).status, 0);
  ASSERT_THAT(files_in(digests), SizeIs(1));
  const std::string remembered = digests + "/" + files_in(digests).front();

  // It is what counts, as long as it is one.
  const std::string digest = content_of(remembered);
  std::ofstream(remembered) << std::string(digest.rbegin(), digest.rend());
  EXPECT_EQ(run_program(one(a_), cached).status, 2);
  for (const char* damaged : {"", "no digest"}) {
    std::ofstream(remembered) << damaged;
    EXPECT_EQ(run_program(one(a_), cached).status, 0);
    EXPECT_EQ(content_of(remembered), digest);
  }

  const std::string weights = model_ + "/model.safetensors";
  const auto modified = fs::last_write_time(weights);
  flip_byte(weights, 2);
  fs::last_write_time(weights, modified);  // as cp -p and rsync -t do
  let_it_age();
  EXPECT_EQ(run_program(one(a_), cached).status, 2);
  flip_byte(weights, 2);

  // No place to remember anything costs nothing but time.
  std::ofstream(scratch_ / "file") << "x";
  cached.environment = {{"XDG_CACHE_HOME", scratch_ / "file"}};
  EXPECT_EQ(run_program(one(a_), cached).status, 0);
}

TEST_F(Extract, NeverMixesRunsWithDifferentAdapters) {
  const std::string lora = scratch_ / "lora";
  make_small_lora(lora, 1);
  ASSERT_EQ(run_program(words()).status, 0);
  const auto expect_another_run = [&](const Words& words) {
    const Result result = run_program(words);
    EXPECT_EQ(result.status, 2) << result.err;
    EXPECT_THAT(result.errors(), ElementsAre(HasSubstr("run.json: lora: ")));
  };
  expect_another_run(words({"--lora", lora}));
  fs::remove_all(out_);
  ASSERT_EQ(run_program(words({"--lora", lora})).status, 0);
  const Stamp stamp = stamp_of(out_ + "/x/a.safetensors");
  EXPECT_EQ(run_program(words({"--lora", lora})).status, 0);
  const std::string elsewhere = scratch_ / "moved";
  fs::rename(lora, elsewhere);  // the same adapter, wherever it lies
  EXPECT_EQ(run_program(words({"--lora", elsewhere})).status, 0);
  EXPECT_EQ(stamp_of(out_ + "/x/a.safetensors"), stamp);
  expect_another_run(words());
  // Its last value, and its config.
  const std::string weights = elsewhere + "/adapter_model.safetensors";
  const std::string whole = content_of(weights);
  std::string changed = whole;
  changed[changed.size() - 2] = static_cast<char>(changed[changed.size() - 2] ^ 1);
  std::ofstream(weights, std::ios::binary) << changed;
  expect_another_run(words({"--lora", elsewhere}));
  std::ofstream(weights, std::ios::binary) << whole;
  EXPECT_EQ(run_program(words({"--lora", elsewhere})).status, 0);
  std::ofstream(elsewhere + "/adapter_config.json")
      << R"({"peft_type": "LORA", "r": 2, "lora_alpha": 4, "target_modules": ["linear_q"]})";
  expect_another_run(words({"--lora", elsewhere}));
  EXPECT_EQ(stamp_of(out_ + "/x/a.safetensors"), stamp);
}

TEST_F(Extract, RefusesFilesOfAnotherOriginInItsPlace) {
  write_safetensors(scratch_ / "plain.safetensors", {{"x", at::zeros(3)}});
  fs::create_directories(out_ + "/x");
  fs::copy_file(scratch_ / "plain.safetensors", out_ + "/x/a.safetensors");
  Result result = run_program(words());
  EXPECT_EQ(result.status, 2);
  EXPECT_THAT(result.errors(), ElementsAre(HasSubstr("x/a.safetensors")));
  std::ofstream(out_ + "/x/a.safetensors") << "my own notes";
  result = run_program(words());
  EXPECT_EQ(result.status, 2);
  EXPECT_EQ(content_of(out_ + "/x/a.safetensors"), "my own notes");
  EXPECT_THAT(files_in(out_), ElementsAre("x/a.safetensors"));

  // Also in the directory of a run, and when its bytes are looked at.
  fs::remove_all(out_);
  ASSERT_EQ(run_program(words()).status, 0);
  fs::copy_file(scratch_ / "plain.safetensors", out_ + "/x/a.safetensors",
                fs::copy_options::overwrite_existing);
  for (const Words& options : {Words{}, Words{"--verify"}}) {
    EXPECT_EQ(run_program(words(options)).status, 2);
    EXPECT_EQ(content_of(out_ + "/x/a.safetensors"), content_of(scratch_ / "plain.safetensors"));
  }
}

TEST_F(Extract, RefusesARecordThatIsNone) {
  fs::create_directories(out_);
  std::ofstream(out_ + "/run.json") << "{\"fingerprint\":";
  const Result result = run_program(words());
  EXPECT_EQ(result.status, 2);
  EXPECT_THAT(result.errors(),
              ElementsAre(AllOf(HasSubstr("run.json"), HasSubstr("outputs and journals stay"))));
  fs::remove(out_ + "/run.json");
  fs::create_directory(out_ + "/run.json");
  for (const Words& command : {words(), Words{"status", out_}, Words{"verify", out_}}) {
    const Result unreadable = run_program(command);
    EXPECT_EQ(unreadable.status, 5) << unreadable.err;
    EXPECT_THAT(unreadable.errors(),
                ElementsAre(AllOf(HasSubstr("run.json"), HasSubstr("outputs and journals stay"))));
  }
}

TEST_F(Extract, FailsTheBadFilesAndDoesTheRest) {
  const std::string text = scratch_ / "clips/text.wav";
  const std::string brief = scratch_ / "clips/brief.wav";
  const std::string cut = scratch_ / "clips/cut.wav";
  const std::string missing = scratch_ / "clips/missing.wav";
  const std::string folder = scratch_ / "clips/folder.wav";
  std::ofstream(text) << "this is no audio\n";
  write_clip(brief, 559);
  write_clip(cut, 16000);
  fs::resize_file(cut, 20000);
  fs::create_directories(folder);
  const Result result = run_program(with(words(), {text, brief, cut, missing, folder}));
  EXPECT_EQ(result.status, 3) << result.err;
  EXPECT_THAT(result.errors(),
              ElementsAre(HasSubstr("text.wav"), HasSubstr("brief.wav"), HasSubstr("cut.wav"),
                          HasSubstr("missing.wav"), HasSubstr("folder.wav")));
  EXPECT_THAT(files_in(out_), UnorderedElementsAre("x/a.safetensors", "y/b.safetensors", "run.json",
                                                   "journal.jsonl", "failures.jsonl"));
  const auto failures = lines_of(out_ + "/failures.jsonl");
  ASSERT_THAT(failures, SizeIs(5));
  EXPECT_EQ(failures[0]["path"], text);
  EXPECT_EQ(failures[0]["stage"], "read");
  EXPECT_EQ(failures[0]["kind"], "audio");
  EXPECT_THAT(failures[0]["message"].get<std::string>(), HasSubstr("text.wav: "));
  EXPECT_EQ(failures[3]["kind"], "not_found");
  EXPECT_EQ(failures[4]["kind"], "not_a_file");

  // Mended, the same command does what was left and drops the failures.
  for (const std::string& path : {text, brief, cut, missing}) write_clip(path, 8000);
  fs::remove_all(folder);
  write_clip(folder, 8000);
  const Result again = run_program(with(words(), {text, brief, cut, missing, folder}));
  EXPECT_EQ(again.status, 0) << again.err;
  EXPECT_FALSE(fs::exists(out_ + "/failures.jsonl"));
  EXPECT_THAT(files_in(out_), SizeIs(9));
}

TEST_F(Extract, RefusesTwoInputsOfOneName) {
  write_clip(scratch_ / "clips/x/a.flac", 8000);
  expect_error(with(words(), {scratch_ / "clips/x/a.flac"}), 2,
               AllOf(HasSubstr("a.flac"), HasSubstr("a.wav")));
}

TEST_F(Extract, NeverTakesTheOutputOfAnotherFileOfTheSameName) {
  const std::string monday = scratch_ / "mon/call.wav", tuesday = scratch_ / "tue/call.wav";
  write_clip(monday, 8000, 3);
  write_clip(tuesday, 8000, 4);
  for (const Words& form : {Words{}, Words{"--output-format", "npy"}, Words{"--shard-size", "2"}}) {
    out_ = scratch_ / "out" + std::to_string(form.size()) + (form.empty() ? "" : form[0]);
    ASSERT_EQ(run_program(one(monday, form)).status, 0);
    const auto before = files_in(out_);
    const Result refused = run_program(one(tuesday, form));
    EXPECT_EQ(refused.status, 2) << refused.err;
    EXPECT_THAT(refused.errors(),
                ElementsAre(AllOf(HasSubstr(monday), HasSubstr(tuesday), HasSubstr("(--name)"))));
    EXPECT_THAT(refused.err, ::testing::Not(HasSubstr("clip,")));  // before any work
    EXPECT_EQ(files_in(out_), before);
  }
}

TEST_F(Extract, NamesOutputsAsItIsAsked) {
  std::ofstream(scratch_ / "wav.scp") << "one " << a_ << "\ntwo " << b_ << "\n";
  const auto names = [&](const Words& more) {
    out_ = scratch_ / "named" + std::to_string(more.size()) + more.back();
    Words all = {"extract", "--model", model_, "--output", out_, "--threads", "1"};
    const Result result = run_program(with(all, more));
    EXPECT_EQ(result.status, 0) << result.err;
    std::vector<std::string> found;
    for (const std::string& file : files_in(out_)) {
      if (file.ends_with(".safetensors")) found.push_back(file.substr(0, file.rfind('.')));
    }
    return found;
  };
  EXPECT_THAT(names({a_, b_, "--name", "stem"}), UnorderedElementsAre("a", "b"));
  EXPECT_THAT(names({a_, b_, "--name", "path"}), UnorderedElementsAre("x/a", "y/b"));
  const Words list = {"--manifest", scratch_ / "wav.scp", "--name"};
  EXPECT_THAT(names(with(list, {"path"})), UnorderedElementsAre("x/a", "y/b"));
  EXPECT_THAT(names(with(list, {"id"})), UnorderedElementsAre("one", "two"));
  EXPECT_EQ(run_program(words({"--name", "id"})).status, 2);
  EXPECT_EQ(run_program(words({"--name", "title"})).status, 2);
}

// As after a kill between the output and its line in the journal.
TEST_F(Extract, NeverTakesTheBeginningOfAFileForTheWhole) {
  std::ofstream(scratch_ / "beginning.jsonl")
      << R"({"audio_filepath": ")" << a_ << R"(", "duration": 0.2})"
      << "\n";
  for (const Words& form : {Words{}, Words{"--shard-size", "2"}}) {
    out_ = scratch_ / "out" + std::to_string(form.size());
    const Words beginning = with({"extract", "--model", model_, "--output", out_, "--threads", "1",
                                  "--manifest", scratch_ / "beginning.jsonl"},
                                 form);
    ASSERT_EQ(run_program(beginning).status, 0);
    fs::remove(out_ + "/journal.jsonl");
    const Result whole = run_program(one(a_, form));
    EXPECT_EQ(whole.status, 2) << whole.err;
    EXPECT_THAT(whole.err, AllOf(HasSubstr("the whole file"), HasSubstr("0 s to 0.2 s")));
    EXPECT_THAT(run_program(beginning).err, HasSubstr("1 finished before"));
  }
}

TEST_F(Extract, DoesAReplacedFileAnewAndSaysSo) {
  ASSERT_EQ(run_program(words()).status, 0);
  const Stamp b = stamp_of(out_ + "/y/b.safetensors");
  write_clip(a_, 20000, 7);
  const Result result = run_program(words({"--json"}));
  ASSERT_EQ(result.status, 0) << result.err;
  EXPECT_THAT(result.err, HasSubstr("2 clips, 1 finished before, 1 of a file that was replaced"));
  EXPECT_EQ(nlohmann::json::parse(result.out)["replaced"], 1);
  EXPECT_EQ(stamp_of(out_ + "/y/b.safetensors"), b);
  const std::string states = content_of(out_ + "/x/a.safetensors");
  EXPECT_EQ(run_program({"verify", out_}).status, 0);
  out_ = scratch_ / "fresh";
  ASSERT_EQ(run_program(words()).status, 0);
  EXPECT_EQ(content_of(out_ + "/x/a.safetensors"), states);
}

TEST_F(Extract, DoesNotDependOnWhereItsInputsLie) {
  ASSERT_EQ(run_program(words()).status, 0);
  const std::string first = content_of(out_ + "/x/a.safetensors");
  fs::create_directories(scratch_ / "elsewhere/clips");
  fs::rename(scratch_ / "clips", scratch_ / "elsewhere/clips/moved");
  a_ = scratch_ / "elsewhere/clips/moved/x/a.wav";
  b_ = scratch_ / "elsewhere/clips/moved/y/b.wav";
  out_ = scratch_ / "again";
  ASSERT_EQ(run_program(words()).status, 0);
  EXPECT_EQ(content_of(out_ + "/x/a.safetensors"), first);
}

TEST_F(Extract, SaysOnceThatOutputsHaveNoRecord) {
  const Words npy = {"--output-format", "npy"};
  ASSERT_EQ(run_program(words(npy)).status, 0);
  const Stamp stamp = stamp_of(out_ + "/x/a.npy");
  fs::remove(out_ + "/journal.jsonl");
  const Result result = run_program(words(npy));
  EXPECT_EQ(result.status, 0) << result.err;
  EXPECT_THAT(result.err, HasSubstr("2 finished outputs without a record"));
  EXPECT_EQ(stamp_of(out_ + "/x/a.npy"), stamp);
  EXPECT_EQ(run_program(words(with(npy, {"--quiet"}))).err, "");
}

TEST_F(Extract, VerifiesAlsoWhenNobodyReadsTheResult) {
  ASSERT_EQ(run_program(words()).status, 0);
  Conditions gone;
  gone.stdout_reader_gone = true;
  EXPECT_EQ(run_program({"verify", out_}, gone).status, 0);
  flip_byte(out_ + "/x/a.safetensors", 3);
  EXPECT_EQ(run_program({"verify", out_}, gone).status, 5);
}

TEST_F(Extract, ShowsNoControlsOfWhatARunWasAskedFor) {
  const std::string prefix =
      "\xc2\x9b"
      "2J\x7f.";
  change_tensors(model_ + "/model.safetensors", [&](auto& tensors) {
    std::map<std::string, at::Tensor> renamed;
    for (auto& [name, tensor] : tensors) renamed.emplace(prefix + name, tensor);
    tensors = std::move(renamed);
  });
  ASSERT_EQ(run_program(words({"--prefix", prefix})).status, 0);
  for (const Words& more : {Words{"--json"}, Words{}}) {
    const Result status = run_program(with({"status", out_}, more));
    EXPECT_EQ(status.status, 0) << status.err;
    EXPECT_THAT(status.out, AllOf(HasSubstr("2J"), ::testing::Not(HasSubstr("\xc2\x9b")),
                                  ::testing::Not(HasSubstr("\x7f"))));
    if (more.empty()) continue;
    EXPECT_EQ(nlohmann::json::parse(status.out)["fields"]["prefix"], prefix);
  }
  EXPECT_EQ(run_program(words({"--prefix", prefix})).status, 0);  // the record is read again
}

TEST_F(Extract, RefusesAnOutputThatWouldReplaceItsInput) {
  make_small_model(scratch_ / "in");
  const std::string input = scratch_ / "in/model.safetensors";
  const Stamp stamp = stamp_of(input);
  out_ = scratch_ / "in";
  const Result result = run_program(one(input));
  EXPECT_EQ(result.status, 2) << result.err;
  EXPECT_EQ(stamp_of(input), stamp);
}

// Before the model is loaded, which here has no weights: that would be 4.
TEST_F(Extract, LeavesOtherProgramsFilesAlone) {
  const std::string lacking = scratch_ / "lacking";
  make_small_model(lacking);
  change_tensors(lacking + "/model.safetensors", [](auto& tensors) { tensors.clear(); });
  const std::string foreign = "{\"audio_filepath\": \"" + a_ + "\"}\n";
  fs::create_directories(out_);
  std::ofstream(scratch_ / "diary") << "Dear diary,";
  const auto expect_left = [&](const Words& inputs, int status, const std::string& named) {
    const std::string before = content_of(named);
    const Result result =
        run_program(with(inputs, {"--model", lacking, "--output", out_, "--threads", "1"}));
    EXPECT_EQ(result.status, status) << result.err;
    EXPECT_THAT(result.errors(), ElementsAre(HasSubstr(named)));
    if (fs::is_symlink(named)) {
      EXPECT_THAT(result.errors(), ElementsAre(HasSubstr(fs::read_symlink(named).string())));
    }
    EXPECT_EQ(content_of(named), before);
    EXPECT_THAT(files_in(out_), SizeIs(1));
  };
  for (const char* name : {"failures.jsonl", "journal.jsonl", "shard-00000.jsonl"}) {
    const std::string path = out_ + "/" + name;
    std::ofstream(path) << foreign;
    expect_left({"extract", a_, "--shard-size", "2"}, 5, path);
    const int clash = 2;  // it is the user's own option
    expect_left({"extract", "--manifest", path, "--shard-size", "2"}, clash, path);
    fs::remove(path);
    fs::create_symlink(scratch_ / "diary", path);
    expect_left({"extract", a_, "--shard-size", "2"}, 5, path);
    fs::remove(path);
  }
  EXPECT_EQ(content_of(scratch_ / "diary"), "Dear diary,");
}

TEST_F(Extract, LeavesTheModelAloneThatIsInItsPlace) {
  // Its output would be named as the model's weights are.
  write_clip(scratch_ / "model.wav", 8000, 1);
  const std::string weights = model_ + "/model.safetensors";
  const std::string before = content_of(weights);
  out_ = model_;
  EXPECT_EQ(run_program(one(scratch_ / "model.wav")).status, 2);
  EXPECT_EQ(content_of(weights), before);
}

TEST_F(Extract, LeavesNothingOfAPathThatIsTooLong) {
  std::string deep = out_;
  while (deep.size() < 6000) deep += "/a";
  const Result result = run_program({"features", a_, "--output", deep});
  EXPECT_EQ(result.status, 5) << result.err;
  EXPECT_FALSE(fs::exists(out_));
  EXPECT_EQ(run_program({"features", "--manifest", deep, "--output", out_}).status, 2);
  EXPECT_FALSE(fs::exists(out_));
}

TEST_F(Extract, FindsABadPlaceBeforeItLoadsTheModel) {
  std::ofstream(scratch_ / "file") << "x";
  for (const std::string& place : {scratch_ / "file", scratch_ / "file/below",
                                   std::string("/proc/nowhere"), std::string("/sys/nowhere")}) {
    const Result result = run_program({"extract", a_, "--model", model_, "--output", place});
    EXPECT_EQ(result.status, 5) << result.err;
    EXPECT_THAT(result.errors(), ElementsAre(HasSubstr(place)));
  }
  Conditions full;  // like a disk or a quota that is full
  full.file_size_limit = 100;
  expect_error(words(), 5, HasSubstr("out"), full);
}

TEST_F(Extract, EndsWithTheStorageStatusWhenItFillsUpLater) {
  Conditions filling;  // enough for the probe and the record, not for an output
  filling.file_size_limit = 4096;
  const Result result = run_program(words(), filling);
  EXPECT_EQ(result.status, 5) << result.err;
  EXPECT_THAT(result.errors(), ElementsAre(HasSubstr(".safetensors")));
  EXPECT_THAT(files_in(out_), UnorderedElementsAre("run.json", "journal.jsonl"));
}

// Before it says what it is about to do, loads the model and replaces anything.
TEST_F(Extract, FindsThatItsJournalCannotBeWrittenBeforeItChangesAnything) {
  ASSERT_EQ(run_program(words()).status, 0);
  write_clip(a_, 20000, 7);
  flip_byte(out_ + "/y/b.safetensors", 30);
  const std::string journal = out_ + "/journal.jsonl";
  const std::string lines = content_of(journal);
  std::string longer = lines;
  while (longer.size() < 8192) longer += lines;
  std::ofstream(journal, std::ios::binary) << longer;
  const Stamp a = stamp_of(out_ + "/x/a.safetensors"), b = stamp_of(out_ + "/y/b.safetensors");
  Conditions full;  // the journal is as long as a file may be
  full.file_size_limit = longer.size();
  const Result result = run_program(words({"--verify"}), full);
  EXPECT_EQ(result.status, 5) << result.err;
  EXPECT_THAT(result.errors(), ElementsAre(HasSubstr("journal.jsonl")));
  EXPECT_THAT(result.err, Not(HasSubstr("2 clips")));
  EXPECT_EQ(stamp_of(out_ + "/x/a.safetensors"), a);
  EXPECT_EQ(stamp_of(out_ + "/y/b.safetensors"), b);
  EXPECT_EQ(content_of(journal), longer);
}

TEST_F(Extract, LeavesTheOutputOfAReplacedFileThatCannotBeRead) {
  ASSERT_EQ(run_program(words()).status, 0);
  const Stamp a = stamp_of(out_ + "/x/a.safetensors");
  std::ofstream(a_, std::ios::binary) << "no audio";
  for (int time = 0; time < 2; ++time) {
    EXPECT_EQ(run_program(words()).status, 3);
    EXPECT_EQ(stamp_of(out_ + "/x/a.safetensors"), a);
    const Result verify = run_program({"verify", out_});
    EXPECT_EQ(verify.status, 5);
    EXPECT_THAT(verify.errors(), ElementsAre(AllOf(HasSubstr("x/a.safetensors"), HasSubstr(a_))));
  }
  write_clip(a_, 20000, 7);
  EXPECT_EQ(run_program(words()).status, 0);
  EXPECT_EQ(run_program({"verify", out_}).status, 0);
}

TEST_F(Extract, SaysWhatIsNotItsOwnInItsDirectory) {
  ASSERT_EQ(run_program(words()).status, 0);
  write_safetensors(out_ + "/weights.safetensors", {{"w", at::zeros({2})}});
  const Result verify = run_program({"verify", out_});
  EXPECT_EQ(verify.status, 0) << verify.err;
  EXPECT_THAT(verify.out, HasSubstr("2 outputs whole, 0 bad, 0 missing, 1 file not known"));
  EXPECT_EQ(nlohmann::json::parse(run_program({"verify", out_, "--json"}).out)["foreign"], 1);
}

TEST_F(Extract, ReadsAManifest) {
  std::ofstream(scratch_ / "clips/list.txt") << "x/a.wav\r\n\n" << b_ << "\n";
  const Words words = {"extract", "--model", model_, "--output", out_, "--manifest"};
  ASSERT_EQ(run_program(with(words, {scratch_ / "clips/list.txt"})).status, 0);
  EXPECT_THAT(files_in(out_), UnorderedElementsAre("x/a.safetensors", "y/b.safetensors", "run.json",
                                                   "journal.jsonl"));
  out_ = scratch_ / "from_stdin";
  Conditions conditions;
  conditions.input = "clips/x/a.wav\nclips/y/b.wav";
  conditions.working_directory = scratch_.path();
  ASSERT_EQ(
      run_program({"extract", "--model", model_, "--output", out_, "--manifest", "-"}, conditions)
          .status,
      0);
  EXPECT_THAT(files_in(out_), UnorderedElementsAre("x/a.safetensors", "y/b.safetensors", "run.json",
                                                   "journal.jsonl"));
}

TEST_F(Extract, RefusesABadManifest) {
  std::ofstream(scratch_ / "empty.txt") << "\n";
  std::ofstream(scratch_ / "no.jsonl") << "x/a.wav\n";
  std::ofstream(scratch_ / "commands.scp") << "a sox x/a.wav -t wav - |\n";
  const std::string folder = scratch_ / "no_audio";
  fs::create_directories(folder);
  for (const std::string& path : {scratch_ / "empty.txt", scratch_ / "missing.txt", folder,
                                  scratch_ / "no.jsonl", scratch_ / "commands.scp"}) {
    expect_error({"extract", "--model", model_, "--output", out_, "--manifest", path}, 2,
                 HasSubstr(path));
  }
  expect_error(words({"--manifest-format", "list"}), 2, HasSubstr("--manifest-format"));
}

TEST_F(Extract, ReadsADirectoryAndFairseqsAndKaldisLists) {
  const Words words = {"extract", "--model", model_, "--output"};
  std::ofstream(scratch_ / "train.tsv") << scratch_ / "clips"
                                        << "\nx/a.wav\t16000\ny/b.wav\t12345\n";
  std::ofstream(scratch_ / "wav.scp") << "x/a " << a_ << "\ny/b   " << b_ << "\n";
  for (const std::string& manifest :
       {scratch_ / "clips", scratch_ / "train.tsv", scratch_ / "wav.scp"}) {
    const std::string out = scratch_ / "of" + manifest.substr(manifest.rfind('/') + 1);
    const Result result = run_program(with(words, {out, "--manifest", manifest}));
    ASSERT_EQ(result.status, 0) << result.err;
    EXPECT_THAT(files_in(out), UnorderedElementsAre("x/a.safetensors", "y/b.safetensors",
                                                    "run.json", "journal.jsonl"));
  }
}

TEST_F(Extract, CutsThePartsThatNemosListAsksFor) {
  std::ofstream(scratch_ / "clips/parts.jsonl")
      << R"({"audio_filepath": "y/b.wav", "duration": 0.77, "text": "whole"})"
      << "\n"
      << R"({"audio_filepath": "x/a.wav", "offset": 0.25, "duration": 0.5})"
      << "\n"
      << R"({"audio_filepath": "x/a.wav", "offset": 0.5, "duration": 0.5})"
      << "\n"
      << R"({"audio_filepath": "x/a.wav", "offset": 0.75, "duration": 0.5})"
      << "\n"
      << R"({"audio_filepath": "x/a.wav", "offset": -1, "duration": 0.5})"
      << "\n";
  const Result result = run_program({"extract", "--model", model_, "--output", out_, "--manifest",
                                     scratch_ / "clips/parts.jsonl", "--threads", "1"});
  EXPECT_EQ(result.status, 3);
  EXPECT_THAT(result.errors(),
              UnorderedElementsAre(AllOf(HasSubstr("x/a.wav"), HasSubstr("1.25 s")),
                                   AllOf(HasSubstr("line 5"), HasSubstr("offset"))));
  EXPECT_THAT(files_in(out_),
              UnorderedElementsAre("y/b.safetensors", "x/a-0000250-0000750.safetensors",
                                   "x/a-0000500-0001000.safetensors", "run.json", "journal.jsonl",
                                   "failures.jsonl"));
  // The part is what a file of its own gives.
  const std::string whole = content_of(a_);
  std::string part = whole.substr(0, 44) + whole.substr(44 + 2 * 4000, 2 * 8000);
  for (const std::size_t at : {4UL, 40UL}) {
    const auto bytes = static_cast<std::uint32_t>(at == 4 ? 36 + 16000 : 16000);
    part.replace(at, 4, reinterpret_cast<const char*>(&bytes), 4);
  }
  std::ofstream(scratch_ / "part.wav", std::ios::binary) << part;
  const std::string alone = scratch_ / "alone";
  ASSERT_EQ(run_program({"extract", scratch_ / "part.wav", "--model", model_, "--output", alone,
                         "--threads", "1"})
                .status,
            0);
  const auto expected = tensors_of(alone + "/part.safetensors");
  const auto got = tensors_of(out_ + "/x/a-0000250-0000750.safetensors");
  EXPECT_TRUE(at::equal(got.at("last_hidden_state"), expected.at("last_hidden_state")));
}

TEST_F(Extract, GivesTheSameBytesInBatchesOfAnySizeAndWithAnyNumberOfReaders) {
  Words many = {"extract", "--model", model_, "--threads", "1", "--output"};
  for (int i = 0; i < 20; ++i)
    write_clip(scratch_ / "many/" + std::to_string(i) + ".wav", 900 * (i + 1), i);
  many.insert(many.end(), {scratch_ / "one", "--manifest", scratch_ / "many"});
  ASSERT_EQ(run_program(with(many, {"--batch-seconds", "0.01"})).status, 0);
  for (const Words& options : {Words{}, Words{"--batch-seconds", "1"}, Words{"--readers", "3"},
                               Words{"--batch-seconds", "100", "--readers", "2"}}) {
    many[6] = scratch_ / "other";
    const Result result = run_program(with(many, options));
    ASSERT_EQ(result.status, 0) << result.err;
    for (int i = 0; i < 20; ++i) {
      const std::string name = "/" + std::to_string(i) + ".safetensors";
      EXPECT_EQ(content_of(scratch_ / "one" + name), content_of(scratch_ / "other" + name)) << i;
    }
    fs::remove_all(scratch_ / "other");
  }
}

TEST_F(Extract, CutsLongClipsIntoPiecesAndPutsThemTogether) {
  const Words reference = {"--engine", "reference", "--states", "2"};
  const Words chunks = {"--chunk-seconds", "0.4", "--overlap-seconds", "0.1"};
  ASSERT_EQ(run_program(with(one(a_, reference), chunks)).status, 0);
  const at::Tensor cut = tensors_of(out_ + "/a.safetensors").at("hidden_states.2");
  ASSERT_EQ(cut.size(0), 49);

  // 20 frames of 20 ms, overlapping by 5; the last chunk ends with the clip. What the model gives
  // for each chunk alone:
  const std::string features = scratch_ / "features";
  ASSERT_EQ(run_program({"features", a_, "--model", model_, "--output", features}).status, 0);
  const at::Tensor input = tensors_of(features + "/a.safetensors").at("input_features");
  const std::vector<std::array<std::int64_t, 3>> expected = {
      {0, 0, 17}, {15, 17, 32}, {29, 32, 49}};
  for (const auto& [begin, keep_begin, keep_end] : expected) {
    const std::string in = scratch_ / "in.safetensors", out = scratch_ / "out.safetensors";
    write_safetensors(
        in, {{"input_features", input.slice(0, begin, begin + 20).unsqueeze(0).contiguous()}}, {},
        IfPresent::kReplace);
    const Result result =
        run_program({"forward", "--model", model_, "--input", in, "--output", out, "--engine",
                     "reference", "--output-hidden-states", "--threads", "1"});
    ASSERT_EQ(result.status, 0) << result.err;
    const at::Tensor chunk = tensors_of(out).at("hidden_states.2")[0];
    EXPECT_TRUE(at::equal(cut.slice(0, keep_begin, keep_end),
                          chunk.slice(0, keep_begin - begin, keep_end - begin)));
  }

  // Other chunks are another run; a clip that is shorter stays whole.
  EXPECT_EQ(run_program(one(a_, reference)).status, 2);
  EXPECT_EQ(run_program(with(one(a_, reference), {"--chunk-seconds", "0.5"})).status, 2);
  out_ = scratch_ / "longer";
  ASSERT_EQ(run_program(with(one(a_, reference), {"--chunk-seconds", "30"})).status, 0);
  const at::Tensor longer = tensors_of(out_ + "/a.safetensors").at("hidden_states.2");
  out_ = scratch_ / "whole";
  ASSERT_EQ(run_program(one(a_, reference)).status, 0);
  EXPECT_TRUE(at::equal(longer, tensors_of(out_ + "/a.safetensors").at("hidden_states.2")));
  EXPECT_FALSE(at::equal(longer, cut));

  out_ = scratch_ / "refused";
  expect_error(one(a_, {"--overlap-seconds", "1"}), 2, HasSubstr("--overlap-seconds"));
  expect_error(one(a_, {"--chunk-seconds", "0"}), 2, HasSubstr("--chunk-seconds"));
  expect_error(one(a_, {"--chunk-seconds", "1", "--overlap-seconds", "1"}), 2,
               HasSubstr("--overlap-seconds"));
  expect_error(one(a_, {"--chunk-seconds", "1e-9"}), 2,
               AllOf(HasSubstr("--chunk-seconds: 1e-09 seconds are less than a frame"),
                     HasSubstr("expected 0.02 or more")));
}

TEST_F(Extract, StoresAnotherTypeThanItComputes) {
  ASSERT_EQ(run_program(one(a_)).status, 0);
  const at::Tensor computed = tensors_of(out_ + "/a.safetensors").at("last_hidden_state");
  // What is the default is the same run.
  const Result spelt_out = run_program(one(a_, {"--output-dtype", "float32"}));
  EXPECT_EQ(spelt_out.status, 0) << spelt_out.err;
  EXPECT_THAT(spelt_out.err, HasSubstr("1 finished before"));
  EXPECT_THAT(run_program(one(a_, {"--output-dtype", "float16"})).err,
              HasSubstr("made with the default"));
  for (const auto& [name, dtype] : {std::pair{"float16", at::kHalf}, {"bfloat16", at::kBFloat16}}) {
    out_ = scratch_ / name;
    ASSERT_EQ(run_program(one(a_, {"--output-dtype", name})).status, 0);
    const auto stored = tensors_of(out_ + "/a.safetensors");
    EXPECT_TRUE(at::equal(stored.at("last_hidden_state"), computed.to(dtype)));
    EXPECT_EQ(stored.at("attention_mask").scalar_type(), at::kLong);
  }
  EXPECT_EQ(run_program(one(a_)).status, 2);  // another run's directory
  out_ = scratch_ / "refused";
  expect_error(one(a_, {"--output-dtype", "int8"}), 2, HasSubstr("--output-dtype"));
}

TEST_F(Extract, WritesNpyFilesAndResumesAndVerifiesThem) {
  ASSERT_EQ(run_program(words()).status, 0);
  const at::Tensor states = tensors_of(out_ + "/x/a.safetensors").at("last_hidden_state");
  out_ = scratch_ / "npy";
  const Words npy = words({"--output-format", "npy"});
  ASSERT_EQ(run_program(npy).status, 0);
  EXPECT_THAT(files_in(out_),
              UnorderedElementsAre("x/a.npy", "y/b.npy", "run.json", "journal.jsonl"));
  const std::string a = out_ + "/x/a.npy", b = out_ + "/y/b.npy";
  const std::string whole = content_of(a);
  ASSERT_EQ(whole.size(), 128 + states.nbytes());
  EXPECT_EQ(whole.substr(128),
            std::string(static_cast<const char*>(states.const_data_ptr()), states.nbytes()));

  const Stamp finished = stamp_of(b);
  fs::resize_file(a, whole.size() - 1);
  const Result again = run_program(npy);
  ASSERT_EQ(again.status, 0) << again.err;
  EXPECT_EQ(content_of(a), whole);
  EXPECT_EQ(stamp_of(b), finished);

  ASSERT_EQ(run_program({"verify", out_}).status, 0);
  flip_byte(a, 9);
  EXPECT_EQ(run_program({"verify", out_}).status, 5);
  ASSERT_EQ(run_program(with(npy, {"--verify"})).status, 0);
  EXPECT_EQ(content_of(a), whole);
  EXPECT_EQ(run_program({"verify", out_}).status, 0);

  EXPECT_EQ(run_program(words()).status, 2);  // another run's directory
  out_ = scratch_ / "refused";
  expect_error(words({"--output-format", "npy", "--states", "1,2"}), 2,
               HasSubstr("--output-format"));
  expect_error(words({"--output-format", "npy", "--output-dtype", "bfloat16"}), 2,
               HasSubstr("bfloat16"));
  expect_error(words({"--output-format", "zip"}), 2, HasSubstr("--output-format"));
  // Something else that stands in the place of an output, in a directory without a run.
  fs::create_directories(out_ + "/x");
  std::ofstream(out_ + "/x/a.npy") << whole;
  EXPECT_EQ(run_program(words({"--output-format", "npy"})).status, 2);
  EXPECT_EQ(content_of(out_ + "/x/a.npy"), whole);
}

TEST_F(Extract, EndsWhenTooManyFilesFail) {
  Words many = words();
  for (int i = 0; i < 40; ++i) many.push_back(scratch_ / "missing/" + std::to_string(i) + ".wav");
  const Result ended = run_program(with(many, {"--max-failures", "1", "--batch-seconds", "0.1"}));
  EXPECT_EQ(ended.status, 3);
  EXPECT_THAT(ended.err, HasSubstr("--max-failures"));
  EXPECT_LT(ended.errors().size(), 40U);
  EXPECT_EQ(run_program(with(many, {"--allow-failures"})).status, 0);
  EXPECT_THAT(lines_of(out_ + "/failures.jsonl"), SizeIs(40));
}

// Also where the last clips are what fails, or nothing is left to do.
TEST_F(Extract, LooksAtMaxFailuresAtTheEnd) {
  std::ofstream(scratch_ / "list.jsonl") << "{\"audio_filepath\": \"" << a_ << "\"}\n{\n{\n{\n";
  const auto run = [&](const char* most) {
    return run_program({"extract", "--manifest", scratch_ / "list.jsonl", "--model", model_,
                        "--output", out_, "--allow-failures", "--max-failures", most})
        .status;
  };
  EXPECT_EQ(run("3"), 0);
  EXPECT_EQ(run("3"), 0);
  EXPECT_EQ(run("2"), 3);
  fs::remove_all(out_);
  const std::string missing = scratch_ / "missing.wav";
  const Words last = {"extract",        a_,   missing,     "--model", model_,
                      "--output",       out_, "--readers", "1",       "--allow-failures",
                      "--max-failures", "0"};
  EXPECT_EQ(run_program(last).status, 3);
}

TEST_F(Extract, SaysHowFarItIsAndVerifiesItsOutputs) {
  Words words = {"extract", a_, b_, scratch_ / "missing.wav", "--model", model_, "--output", out_};
  ASSERT_EQ(run_program(words).status, 3);
  const Result status = run_program({"status", out_, "--json"});
  ASSERT_EQ(status.status, 0) << status.err;
  const auto report = nlohmann::json::parse(status.out);
  EXPECT_EQ(report["inputs"], 3);
  EXPECT_EQ(report["outputs"], 2);
  EXPECT_EQ(report["failed"], 1);
  EXPECT_NEAR(report["audio_seconds"].get<double>(), 28345 / 16000.0, 1e-6);
  EXPECT_EQ(report["workers"][0]["done"], 2);
  EXPECT_EQ(report["workers"][0]["alive"], false);
  EXPECT_THAT(run_program({"status", out_}).out, HasSubstr("2 outputs of 3 inputs, 1 failed"));

  EXPECT_EQ(run_program({"verify", out_}).status, 0);
  const std::string damaged = out_ + "/clips/x/a.safetensors";
  flip_byte(damaged, 9);
  fs::remove(out_ + "/clips/y/b.safetensors");
  const Result verify = run_program({"verify", out_, "--json"});
  EXPECT_EQ(verify.status, 5);
  EXPECT_THAT(verify.errors(),
              UnorderedElementsAre(AllOf(HasSubstr("x/a.safetensors"), HasSubstr("other data")),
                                   AllOf(HasSubstr("y/b.safetensors"), HasSubstr("missing"))));
  EXPECT_EQ(nlohmann::json::parse(verify.out)["bad"], 1);
  EXPECT_EQ(run_program({"status", scratch_.path()}).status, 2);
  EXPECT_EQ(run_program({"verify", scratch_ / "nowhere"}).status, 2);
}

TEST_F(Extract, FindsDamageAlsoWhereNobodyReadsTheReport) {
  ASSERT_EQ(run_program(words()).status, 0);
  Conditions gone;
  gone.stdout_reader_gone = true;
  EXPECT_EQ(run_program({"verify", out_}, gone).status, 0);
  EXPECT_EQ(run_program({"status", out_}, gone).status, 0);
  flip_byte(out_ + "/x/a.safetensors", 3);
  for (const Words& more : {Words{}, {"--json"}}) {
    EXPECT_EQ(run_program(with({"verify", out_}, more), gone).status, 5);
  }
}

TEST_F(Extract, CutsATornLineOfItsJournal) {
  ASSERT_EQ(run_program(one(a_)).status, 0);
  const std::string journal = out_ + "/journal.jsonl";
  const std::string before = content_of(journal);
  std::ofstream(journal, std::ios::app) << "{\"name\": \"to";
  ASSERT_EQ(run_program(one(a_)).status, 0);
  const std::string after = content_of(journal);
  EXPECT_THAT(after, ::testing::StartsWith(before));
  for (const auto& line : lines_of(journal))
    EXPECT_TRUE(line.contains("name") || line.contains("inputs"));
}

TEST_F(Extract, DividesTheWorkAmongProcesses) {
  const Words many = {"extract",   "--model", model_,       "--output",       out_,
                      "--threads", "1",       "--manifest", scratch_ / "many"};
  std::vector<std::string> expected = {"run.json", "journal.0-of-3.jsonl", "journal.1-of-3.jsonl",
                                       "journal.2-of-3.jsonl"};
  for (int i = 0; i < 12; ++i) {
    const std::string name = std::to_string(i);
    write_clip(scratch_ / "many/" + name + ".wav", 4000, i);
    expected.push_back(name + ".safetensors");
  }
  std::size_t done = 0;
  for (const std::string rank : {"0", "1", "2"}) {
    Conditions conditions;
    conditions.environment = {{"RANK", rank}, {"WORLD_SIZE", "3"}};
    const Result result = run_program(with(many, {"--json"}), conditions);
    ASSERT_EQ(result.status, 0) << result.err;
    done += nlohmann::json::parse(result.out)["done"].get<std::size_t>();
  }
  EXPECT_EQ(done, 12U);
  EXPECT_THAT(files_in(out_), ::testing::UnorderedElementsAreArray(expected));
  Conditions half;
  half.environment = {{"RANK", "0"}};
  EXPECT_EQ(run_program(many, half).status, 2);
}

TEST_F(Extract, EndsBetweenClipsOnASignal) {
  Words many = {"extract", "--model", model_, "--output", out_, "--threads", "1"};
  // Names of one clip: longer work than a busy machine takes to send a signal.
  const std::string clip = scratch_ / "long.wav";
  write_clip(clip, 480'000, 1);
  fs::create_directory(scratch_ / "many");
  for (int i = 0; i < 300; ++i) {
    const std::string path = scratch_ / "many/" + std::to_string(i) + ".wav";
    fs::create_hard_link(clip, path);
    many.push_back(path);
  }
  // An alarm that is not the program's own leaves what is in its place.
  Conditions alarm;
  alarm.signal = SIGALRM;
  alarm.signal_after = out_ + "/run.json";
  EXPECT_EQ(run_program(many, alarm).status, 128 + SIGALRM);
  EXPECT_EQ(run_program({"verify", out_}).status, 0);
  fs::remove_all(out_);
  for (const int signal : {SIGTERM, SIGINT}) {
    Conditions conditions;
    conditions.signal = signal;
    conditions.signal_after = out_ + "/run.json";
    const Result result = run_program(many, conditions);
    EXPECT_EQ(result.status, 128 + signal) << result.err;
    EXPECT_THAT(result.errors(), IsEmpty());
    EXPECT_THAT(result.err, HasSubstr("stopped by a signal"));
    for (const std::string& file : files_in(out_)) EXPECT_EQ(file.find(".tmp"), std::string::npos);
    EXPECT_LT(files_in(out_).size(), 302U);
    fs::remove_all(out_);
  }
}

TEST_F(Extract, RunsWithItsDescriptorsClosedAndStdoutAnywhere) {
  Conditions closed;
  closed.closed = {0, 1, 2};
  EXPECT_EQ(run_program(words(), closed).status, 0);
  const auto tensors = tensors_of(out_ + "/x/a.safetensors");
  EXPECT_THAT(tensors, SizeIs(2));
  out_ = scratch_ / "full";
  Conditions full;
  full.stdout_path = "/dev/full";
  EXPECT_EQ(run_program(words({"--json"}), full).status, 0);
}

TEST_F(Extract, IsQuietWhenAsked) {
  const Result quiet = run_program(with(words({"--quiet"}), {scratch_ / "missing.wav"}));
  EXPECT_EQ(quiet.status, 3);
  EXPECT_THAT(quiet.errors(), SizeIs(1));
  EXPECT_EQ(quiet.err, quiet.errors().front() + "\n");
  EXPECT_THAT(quiet.out, IsEmpty());
}

TEST_F(Extract, ReportsToMachines) {
  const Result result = run_program(with(words({"--json"}), {scratch_ / "missing.wav"}));
  EXPECT_EQ(result.status, 3);
  const auto report = nlohmann::json::parse(result.out);
  ASSERT_THAT(report["clips"], SizeIs(2));
  EXPECT_EQ(report["clips"][0]["output"], out_ + "/clips/x/a.safetensors");
  EXPECT_EQ(report["clips"][0]["frames"], 49);
  EXPECT_DOUBLE_EQ(report["clips"][0]["audio_seconds"], 1.0);
  EXPECT_GT(report["clips"][0]["compute_seconds"], 0);
  ASSERT_THAT(report["failures"], SizeIs(1));
  EXPECT_EQ(report["failures"][0]["kind"], "not_found");
  EXPECT_EQ(report["done"], 2);
  EXPECT_EQ(report["failed"], 1);
}

TEST_F(Extract, TakesNamesThatLookLikeOptionsOrLists) {
  write_clip(scratch_ / "odd/--model", 8000);
  write_clip(scratch_ / "odd/[a,b]", 8000);
  write_clip(scratch_ / "odd/features", 8000);
  Conditions conditions;
  conditions.working_directory = scratch_ / "odd";
  const Result result = run_program(
      {"extract", "--model", model_, "--output", out_, "[a,b]", "features", "--", "--model"},
      conditions);
  EXPECT_EQ(result.status, 0) << result.err;
  EXPECT_THAT(files_in(out_),
              UnorderedElementsAre("--model.safetensors", "[a,b].safetensors",
                                   "features.safetensors", "run.json", "journal.jsonl"));
}

TEST_F(Extract, RefusesLongerClipsThanAllowed) {
  const Result result = run_program(words({"--max-seconds", "0.9"}));
  EXPECT_EQ(result.status, 3);
  EXPECT_THAT(result.errors(), ElementsAre(HasSubstr("a.wav")));
  EXPECT_THAT(files_in(out_), Contains("y/b.safetensors"));
}

TEST_F(Extract, WritesFeatures) {
  ASSERT_EQ(run_program({"features", a_, b_, "--output", out_}).status, 0);
  const auto tensors = tensors_of(out_ + "/x/a.safetensors");
  ASSERT_THAT(tensors, SizeIs(2));
  EXPECT_EQ(tensors.at("input_features").sizes(), at::IntArrayRef({49, 160}));
  EXPECT_EQ(tensors.at("input_features").scalar_type(), at::kFloat);
  EXPECT_EQ(tensors.at("attention_mask").scalar_type(), at::kLong);
}

TEST_F(Extract, TakesTheSettingsOfTheFeaturesFromTheModel) {
  write_clip(a_, 16160, 1);  // an odd number of frames: the padding value shows
  ASSERT_EQ(run_program({"features", a_, "--output", out_}).status, 0);
  ASSERT_EQ(run_program({"features", a_, "--output", out_ + "1", "--model", model_}).status, 0);
  const at::Tensor plain = tensors_of(out_ + "/a.safetensors").at("input_features");
  const at::Tensor of_model = tensors_of(out_ + "1/a.safetensors").at("input_features");
  EXPECT_EQ(plain[49][159].item<float>(), 0);
  EXPECT_EQ(of_model[49][159].item<float>(), 1);
}

}  // namespace
}  // namespace w2vbert::tool::testing
