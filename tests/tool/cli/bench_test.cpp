// w2vbert bench, and which engine runs.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>
#include <sstream>
#include <string>
#include <vector>

#include "support/program.h"
#include "support/small_model.h"
#include "support/temporary_directory.h"

namespace w2vbert::tool::testing {
namespace {

using nlohmann::json;
using ::testing::AllOf;
using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Key;
using ::testing::Not;
using Words = std::vector<std::string>;

class Bench : public ::testing::Test {
 protected:
  void SetUp() override { make_small_model(model_); }
  Words words(const Words& more) const {
    Words all = {"bench", "--model", model_, "--threads", "1", "--rounds", "2"};
    all.insert(all.end(), more.begin(), more.end());
    return all;
  }
  void expect_error(const Words& more, const std::string& text) {
    const Result result = run_program(words(more));
    EXPECT_EQ(result.status, 2);
    EXPECT_THAT(result.errors(), ElementsAre(HasSubstr(text)));
  }

  TemporaryDirectory scratch_;
  std::string model_ = scratch_ / "model";
};

TEST_F(Bench, ReportsEachLength) {
  const Result result =
      run_program(words({"--frames", "5,20", "--batch", "3", "--json", "--profile"}));
  ASSERT_EQ(result.status, 0) << result.err;
  const json report = json::parse(result.out);
  EXPECT_EQ(report["engine"], "fused");
  EXPECT_EQ(report["engine_reason"], "");
  EXPECT_EQ(report["dtype"], "float32");
  EXPECT_EQ(report["threads"], 1);
  ASSERT_EQ(report["results"].size(), 2U);
  for (std::size_t i = 0; i < 2; ++i) {
    const json& entry = report["results"][i];
    const std::int64_t frames = i == 0 ? 5 : 20;
    EXPECT_EQ(entry["frames"], frames);
    EXPECT_EQ(entry["batch"], 3);
    EXPECT_DOUBLE_EQ(entry["audio_seconds"], static_cast<double>(3 * frames) / 50);
    EXPECT_GT(entry["seconds_min"], 0.0);
    EXPECT_GE(entry["seconds_median"], entry["seconds_min"]);
    EXPECT_DOUBLE_EQ(entry["rtf"],
                     entry["seconds_min"].get<double>() / entry["audio_seconds"].get<double>());
    EXPECT_GT(entry["gemm_floor_fraction"], 0.0);
    EXPECT_THAT(entry["profile"].dump(), AllOf(HasSubstr("attention"), HasSubstr("ffn2")));
  }
}

TEST_F(Bench, DrawsATableWithTheSteps) {
  const Result result = run_program(words({"--frames", "7", "--profile"}));
  ASSERT_EQ(result.status, 0) << result.err;
  EXPECT_THAT(result.out, AllOf(HasSubstr("fused engine, float32, 1 threads"),
                                HasSubstr("median s"), HasSubstr("depthwise_conv")));
}

TEST_F(Bench, TakesOneRaggedBatch) {
  const Result result = run_program(words({"--frames", "5,20,3", "--ragged", "--json"}));
  ASSERT_EQ(result.status, 0) << result.err;
  const json report = json::parse(result.out);
  ASSERT_EQ(report["results"].size(), 1U);
  EXPECT_DOUBLE_EQ(report["results"][0]["audio_seconds"], 28.0 / 50);
  EXPECT_EQ(report["results"][0]["batch"], 3);
}

TEST_F(Bench, ComparesAllTypes) {
  const Words all = words({"--frames", "5,60", "--dtype", "all"});
  const Result text = run_program(all);
  ASSERT_EQ(text.status, 0) << text.err;
  EXPECT_THAT(text.out, AllOf(HasSubstr("fused engine, all types, 1 threads"), HasSubstr("speed"),
                              HasSubstr("error")));
  const Result result = run_program(words({"--frames", "5,60", "--dtype", "all", "--json"}));
  ASSERT_EQ(result.status, 0) << result.err;
  const json report = json::parse(result.out);
  EXPECT_EQ(report["dtype"], "all");
  std::map<std::string, double> errors;
  for (const json& entry : report["results"]) {
    const std::string dtype = entry["dtype"];
    EXPECT_THAT(text.out, HasSubstr("\n" + dtype + " "));
    if (entry.contains("unsupported")) {
      EXPECT_EQ(dtype, "int8");
      EXPECT_THAT(entry["unsupported"], HasSubstr("AVX512_VNNI"));
      continue;
    }
    EXPECT_EQ(entry["engine"], "fused") << dtype;
    EXPECT_GT(entry["speed"], 0.0) << dtype;
    errors[dtype] = std::max(errors[dtype], entry["error"].get<double>());
  }
  ASSERT_THAT(errors, AllOf(Contains(Key("bfloat16")), Contains(Key("float16"))));
  EXPECT_EQ(errors["float32"], 0);
  EXPECT_GT(errors["float16"], 0);
  EXPECT_LT(errors["float16"], errors["bfloat16"]);
  EXPECT_LT(errors["bfloat16"], 0.05);
}

TEST_F(Bench, ComparesTypesOfTheReferenceEngineButInt8) {
  const Result result =
      run_program(words({"--frames", "5", "--dtype", "all", "--engine", "reference", "--json"}));
  ASSERT_EQ(result.status, 0) << result.err;
  const json report = json::parse(result.out);
  ASSERT_EQ(report["results"].size(), 4U);
  for (const json& entry : report["results"]) {
    EXPECT_EQ(entry.contains("unsupported"), entry["dtype"] == "int8");
  }
  EXPECT_THAT(report["results"][3]["unsupported"], HasSubstr("--dtype"));
}

TEST_F(Bench, AnswersEachLineOfStdin) {
  Conditions conditions;
  conditions.input = "4\n9,3\n";
  const Result result = run_program(words({"--frames", "-"}), conditions);
  ASSERT_EQ(result.status, 0) << result.err;
  std::istringstream lines(result.out);
  std::string line;
  for (const int frames : {4, 12}) {
    ASSERT_TRUE(std::getline(lines, line));
    const json answer = json::parse(line);
    EXPECT_EQ(answer["engine"], "fused");
    EXPECT_EQ(answer["frames"], frames);
    EXPECT_GT(answer["seconds"], 0.0);
    EXPECT_GT(answer["rtf"], 0.0);
  }
  EXPECT_FALSE(std::getline(lines, line));
}

TEST_F(Bench, RefusesWhatItCannotTime) {
  expect_error({"--frames", "0"}, "--frames");
  expect_error({"--frames", "5,"}, "--frames");
  expect_error({"--frames", "180001"}, "--frames");
  expect_error({"--batch", "1001"}, "--batch");
  expect_error({"--batch", "2", "--ragged"}, "--batch: is given beside --ragged");
  expect_error({"--frames", "-", "--dtype", "all"},
               "--dtype: is all where lengths come from stdin");
  expect_error({"--dtype", "float64"}, "float32, bfloat16, float16, int8 or all");
}

TEST_F(Bench, SaysWhichEngineRuns) {
  const Result reference = run_program(words({"--frames", "5", "--json", "--engine", "reference"}));
  EXPECT_EQ(json::parse(reference.out)["engine"], "reference");
  EXPECT_THAT(reference.err, Not(HasSubstr("falls back")));
  for (const char* dtype : {"bfloat16", "float16"}) {  // on any processor
    const Result narrow = run_program(words({"--frames", "5", "--json", "--dtype", dtype}));
    EXPECT_EQ(json::parse(narrow.out)["engine"], "fused") << dtype;
  }
  make_small_model(model_, R"("hidden_act": "gelu")");
  const Result fallback = run_program(words({"--frames", "5", "--json"}));
  EXPECT_EQ(json::parse(fallback.out)["engine"], "reference");
  EXPECT_EQ(json::parse(fallback.out)["engine_reason"], "hidden_act is \"gelu\", not \"swish\"");
  EXPECT_THAT(fallback.err,
              HasSubstr("--engine fused falls back on reference: hidden_act is \"gelu\""));
}

}  // namespace
}  // namespace w2vbert::tool::testing
