#include "tool/cli/worker_answer.h"

#include <ATen/ATen.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>
#include <vector>

#include "tool/corpus/base64.h"
#include "w2vbert/core/error.h"

namespace w2vbert::tool::testing {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

using Json = nlohmann::ordered_json;

WorkerAnswer answer_with(NamedTensors tensors) {
  WorkerAnswer answer;
  answer.asked.line = 3;
  answer.asked.request.id = "x\xE9";
  answer.frames = 2;
  answer.audio_seconds = 0.5;
  answer.tensors = std::move(tensors);
  return answer;
}

TEST(WorkerAnswers, HoldTensorsAsFloat32) {
  at::manual_seed(1);
  for (const auto dtype : {at::kFloat, at::kBFloat16, at::kHalf}) {
    const at::Tensor states = at::randn({2, 3}).to(dtype);
    const at::Tensor mask = at::ones({2}, at::kLong);
    const std::string line = json_line_of(answer_with({{"a", states}, {"attention_mask", mask}}));
    EXPECT_EQ(line.find('\n'), line.size() - 1);
    const Json json = Json::parse(line);
    EXPECT_EQ(json["line"], 3);
    EXPECT_EQ(json["id"], "x\\xe9");
    EXPECT_EQ(json["frames"], 2);
    EXPECT_EQ(json["seconds"], 0.5);
    EXPECT_FALSE(json.contains("output"));
    EXPECT_EQ(json["tensors"]["a"]["dtype"], "float32");
    EXPECT_EQ(json["tensors"]["a"]["shape"], Json({2, 3}));
    const auto bytes = base64_bytes(json["tensors"]["a"]["data"].get<std::string>());
    const at::Tensor wide = states.to(at::kFloat);
    ASSERT_TRUE(bytes);
    ASSERT_EQ(bytes->size(), wide.nbytes());
    EXPECT_EQ(std::memcmp(bytes->data(), wide.const_data_ptr(), wide.nbytes()), 0);
    EXPECT_EQ(json["tensors"]["attention_mask"]["dtype"], "int64");
    EXPECT_EQ(json["tensors"]["attention_mask"]["data"], "AQAAAAAAAAABAAAAAAAAAA==");
  }
}

TEST(WorkerAnswers, NameTheFileAndWhatIsInIt) {
  WorkerAnswer answer = answer_with({{"a", at::ones({2, 3}, at::kBFloat16)}});
  answer.asked.request.output = "caf\xE9.safetensors";
  answer.note = "odd";
  const Json json = Json::parse(json_line_of(answer));
  EXPECT_EQ(json["output"], "caf\\xe9.safetensors");
  EXPECT_EQ(json["tensors"]["a"]["dtype"], "bfloat16");
  EXPECT_FALSE(json["tensors"]["a"].contains("data"));
  EXPECT_EQ(json["note"], "odd");
}

TEST(WorkerAnswers, HoldText) {
  WorkerAnswer answer = answer_with({});
  answer.asked.request.want = WorkerRequest::Want::text;
  answer.text = "a b";
  answer.words = {{"a", 0, 0.1}, {"b", 0.2, 0.3}};
  const Json json = Json::parse(json_line_of(answer));
  EXPECT_EQ(json["text"], "a b");
  EXPECT_EQ(json["words"][1], Json({{"word", "b"}, {"start", 0.2}, {"end", 0.3}}));
  EXPECT_FALSE(json.contains("tensors"));
}

TEST(WorkerAnswers, SayWhatWentWrongAlone) {
  WorkerAnswer answer = answer_with({{"a", at::ones({1})}});
  answer.asked.request.id = {};
  answer.failure = ClipFailure{"a.wav", "read", "audio", "a.wav: is no audio file"};
  EXPECT_EQ(json_line_of(answer),
            "{\"line\":3,\"id\":null,\"error\":{\"kind\":\"audio\",\"message\":\"a.wav: is no "
            "audio file\"}}\n");
}

TEST(AnswerPrinter, PrintsInTheOrderOfTheTurns) {
  std::vector<std::string> lines;
  int printed = 0;
  AnswerPrinter printer(
      true, [&](const std::string& line) { lines.push_back(line); }, [&] { ++printed; });
  printer.add(2, "c");
  printer.add(1, "b");
  EXPECT_THAT(lines, IsEmpty());
  EXPECT_EQ(printed, 0);
  printer.add(0, "a");
  EXPECT_THAT(lines, ElementsAre("a", "b", "c"));
  EXPECT_EQ(printed, 3);
  printer.add(3, "d");
  EXPECT_THAT(lines, ElementsAre("a", "b", "c", "d"));
}

TEST(AnswerPrinter, PrintsAtOnceWhereTheOrderDoesNotMatter) {
  std::vector<std::string> lines;
  AnswerPrinter printer(
      false, [&](const std::string& line) { lines.push_back(line); }, [] {});
  printer.add(2, "c");
  printer.add(0, "a");
  EXPECT_THAT(lines, ElementsAre("c", "a"));
}

TEST(AnswerPrinter, PrintsNothingBehindAFailure) {
  std::vector<std::string> lines;
  int printed = 0;
  AnswerPrinter printer(
      true,
      [&](const std::string& line) {
        if (line == "b") throw StorageError("stdout", "", "full");
        lines.push_back(line);
      },
      [&] { ++printed; });
  printer.add(0, "a");
  EXPECT_FALSE(printer.has_failed());
  printer.rethrow_failure();
  printer.add(1, "b");
  printer.add(2, "c");
  EXPECT_TRUE(printer.has_failed());
  EXPECT_THAT(lines, ElementsAre("a"));
  EXPECT_EQ(printed, 3);  // all are answered, as far as can be
  EXPECT_THROW(printer.rethrow_failure(), StorageError);
}

}  // namespace
}  // namespace w2vbert::tool::testing
