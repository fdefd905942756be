#include "tool/corpus/worker_request.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <random>
#include <span>
#include <string>
#include <vector>

#include "support/error_message.h"
#include "tool/corpus/base64.h"

namespace w2vbert::tool::testing {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAreArray;
using ::testing::HasSubstr;

using Want = WorkerRequest::Want;

std::string base64_of(const std::vector<float>& samples) {
  return base64_text(std::as_bytes(std::span(samples)));
}

std::string samples_request(const std::vector<float>& samples, const std::string& more = "") {
  return R"({"sampling_rate": 16000, "samples": ")" + base64_of(samples) + "\"" + more + "}";
}

std::string error_of(const std::string& line) {
  return message_of<RequestError>([&] { (void)parse_worker_request(line); });
}

std::string kind_of(const std::string& line) {
  try {
    (void)parse_worker_request(line);
  } catch (const RequestError& error) {
    return error.kind();
  }
  return "accepted";
}

TEST(Base64, GivesTheBytesBack) {
  std::mt19937 random(7);
  for (std::size_t size = 0; size < 100; ++size) {
    std::string bytes(size, '\0');
    for (char& byte : bytes) byte = static_cast<char>(random());
    const std::string text = base64_text(std::as_bytes(std::span(bytes)));
    EXPECT_EQ(text.size(), (size + 2) / 3 * 4);
    EXPECT_EQ(base64_bytes(text), bytes);
  }
  const std::string known = "any carnal pleas";
  EXPECT_EQ(base64_text(std::as_bytes(std::span(known))), "YW55IGNhcm5hbCBwbGVhcw==");
}

TEST(Base64, GivesBackWhatIsLongerThanOneBlock) {
  std::string bytes(3 * (3 << 20) + 1, '\0');
  std::mt19937 random(8);
  for (char& byte : bytes) byte = static_cast<char>(random());
  EXPECT_EQ(base64_bytes(base64_text(std::as_bytes(std::span(bytes)))), bytes);
}

TEST(Base64, TakesNothingElse) {
  for (const char* text : {"A", "AA", "AAA", "AA=A", "A===", "====", "AAA=AAAA", "AA\nA", " AAA",
                           "AAAA\n", "AA-A", "AA_A", "AAA\xC3"}) {
    EXPECT_EQ(base64_bytes(text), std::nullopt) << text;
  }
  EXPECT_EQ(base64_bytes(""), "");
}

TEST(WorkerRequests, AskForStatesOfAFile) {
  const WorkerRequest request = parse_worker_request(
      R"( {"path": "a b.wav", "offset": 1, "duration": 2.5, "channel": 2, "id": "x",)"
      R"( "states": "17,24", "output": "out/a.safetensors"} )");
  EXPECT_EQ(request.path, "a b.wav");
  ASSERT_TRUE(request.segment);
  EXPECT_EQ(request.segment->offset_seconds, 1);
  EXPECT_EQ(request.segment->duration_seconds, 2.5);
  EXPECT_EQ(request.channel, 2);
  EXPECT_EQ(request.id, RequestId("x"));
  EXPECT_EQ(request.want, Want::states);
  EXPECT_EQ(request.states, "17,24");
  EXPECT_EQ(request.output, "out/a.safetensors");
  EXPECT_FALSE(request.samples);
}

TEST(WorkerRequests, AskForTheLastStateOfAWholeFileByDefault) {
  const WorkerRequest request = parse_worker_request(R"({"path": "a.wav", "id": null})");
  EXPECT_EQ(request.want, Want::states);
  EXPECT_EQ(request.states, "");
  EXPECT_EQ(request.output, "");
  EXPECT_EQ(request.id, RequestId());
  EXPECT_FALSE(request.segment);
  EXPECT_FALSE(request.channel);
}

TEST(WorkerRequests, NameStatesAsJsonDoes) {
  const auto states = [](const std::string& value) {
    return parse_worker_request(R"({"path": "a", "states": )" + value + "}").states;
  };
  EXPECT_EQ(states("17"), "17");
  EXPECT_EQ(states("[0, 24]"), "0,24");
  EXPECT_EQ(states(R"("all")"), "all");
  for (const char* value : {"[]", R"("")", "-1", "1.5", "true", R"(["1"])", "[[1]]", "{}"}) {
    EXPECT_THAT(error_of(R"({"path": "a", "states": )" + std::string(value) + "}"),
                HasSubstr("states: "))
        << value;
  }
}

TEST(WorkerRequests, AskForFeaturesAndText) {
  EXPECT_EQ(parse_worker_request(R"({"path": "a", "want": "features"})").want, Want::features);
  EXPECT_EQ(parse_worker_request(R"({"path": "a", "want": "text"})").want, Want::text);
  EXPECT_EQ(parse_worker_request(R"({"path": "a", "want": "states"})").want, Want::states);
  EXPECT_THAT(error_of(R"({"path": "a", "want": "logits"})"), HasSubstr("want: is \"logits\""));
  EXPECT_THAT(error_of(R"({"path": "a", "want": "text", "output": "a.safetensors"})"),
              HasSubstr("output: is given for text"));
  EXPECT_THAT(error_of(R"({"path": "a", "want": "features", "states": "1"})"),
              HasSubstr("states: is given beside another want"));
}

TEST(WorkerRequests, BringSamples) {
  const std::vector<float> samples = {0, 0.5, -1, 32768, -32768, 1e-30F};
  const WorkerRequest request = parse_worker_request(samples_request(samples));
  ASSERT_TRUE(request.samples);
  EXPECT_THAT(request.samples->samples, ElementsAreArray(samples));
  EXPECT_EQ(request.samples->sample_rate_hz, 16000);
  EXPECT_EQ(request.samples->source_sample_rate_hz, 16000);
  EXPECT_EQ(request.samples->source_channels, 1);
  EXPECT_EQ(request.path, "");
}

TEST(WorkerRequests, RefuseSamplesThatNoFileMayHave) {
  for (const float bad : {std::numeric_limits<float>::quiet_NaN(),
                          std::numeric_limits<float>::infinity(), std::nextafter(32768.0F, 1e9F)}) {
    EXPECT_THAT(error_of(samples_request({0, bad})), HasSubstr("samples: have "));
    EXPECT_THAT(error_of(samples_request({0, bad})), HasSubstr("at sample 1"));
    EXPECT_EQ(kind_of(samples_request({0, bad})), "audio");
  }
  EXPECT_THAT(error_of(R"({"samples": "AAA=", "sampling_rate": 16000})"), HasSubstr("2 bytes"));
  EXPECT_THAT(error_of(R"({"samples": "", "sampling_rate": 16000})"), HasSubstr("0 bytes"));
  EXPECT_THAT(error_of(R"({"samples": "AAAA AAA", "sampling_rate": 16000})"),
              HasSubstr("are not base64"));
  EXPECT_THAT(error_of(R"({"samples": "AAAAAAAA"})"), HasSubstr("sampling_rate: is not given"));
  for (const char* rate : {"3999", "384001", "16000.0", "-16000", "\"16000\"", "1e400"}) {
    EXPECT_THAT(error_of(R"({"samples": "AAAAAAAA", "sampling_rate": )" + std::string(rate) + "}"),
                HasSubstr("sampling_rate: is "))
        << rate;
  }
}

TEST(WorkerRequests, RefuseWhatDoesNotGoTogether) {
  EXPECT_THAT(error_of("{}"), HasSubstr("path: is not given"));
  EXPECT_THAT(error_of(R"({"id": 1})"), HasSubstr("path: is not given"));
  EXPECT_THAT(error_of(R"({"path": "a", "sampling_rate": 16000})"),
              HasSubstr("sampling_rate: is given without samples"));
  EXPECT_THAT(error_of(samples_request({0}, R"(, "path": "a")")),
              HasSubstr("samples: are given beside a path"));
  EXPECT_THAT(error_of(samples_request({0}, R"(, "channel": 1)")), HasSubstr("channel: "));
  EXPECT_THAT(error_of(samples_request({0}, R"(, "offset": 0)")), HasSubstr("offset: "));
  EXPECT_THAT(error_of(samples_request({0}, R"(, "duration": 1)")), HasSubstr("duration: "));
}

TEST(WorkerRequests, RefuseOtherTypes) {
  for (const char* member : {R"("path": 1)",
                             R"("path": "")",
                             R"("path": ["a"])",
                             R"("path": "a\u0000")",
                             R"("offset": "1")",
                             R"("offset": -1)",
                             R"("offset": 1e10)",
                             R"("duration": 0)",
                             R"("duration": true)",
                             R"("channel": 0)",
                             R"("channel": 65)",
                             R"("channel": 1.0)",
                             R"("channel": "left")",
                             R"("want": 1)",
                             R"("output": "")",
                             R"("output": "a.npy")",
                             R"("output": {})",
                             R"("samples": 1)",
                             R"("id": 1.5)",
                             R"("id": [1])",
                             R"("id": true)",
                             R"("id": 18446744073709551616)",
                             R"("states": null, "States": "1")"}) {
    const std::string key = std::string(member).substr(1, std::string(member).find('"', 1) - 1);
    const std::string path = key == "path" ? "" : R"("path": "a", )";
    const std::string line = "{" + path + member + "}";
    EXPECT_EQ(kind_of(line), "request") << line;
    EXPECT_THAT(error_of(line), HasSubstr(key == "states" ? "States: is unknown" : key + ": "))
        << line;
  }
  EXPECT_THAT(error_of("{\"path\": \"a\", \"id\": \"" + std::string(257, 'x') + "\"}"),
              HasSubstr("at most 256 bytes"));
}

TEST(WorkerRequests, RefuseWhatIsNoJsonObject) {
  for (const char* line : {"", "x", "[]", "1", "null", "\"a\"", "{", R"({"path": "a"} {})",
                           R"({"path": "a", "path": "a"})", R"({"path": "a",})",
                           "\xEF\xBB\xBF{\"path\": \"a\"}", "{\"path\": \"\xE9.wav\"}"}) {
    EXPECT_EQ(kind_of(line), "json") << line;
  }
}

TEST(WorkerRequests, KeepTheirIdWhereSomethingElseIsWrong) {
  const auto id_of = [](const std::string& line) {
    try {
      return parse_worker_request(line).id;
    } catch (const RequestError& error) {
      return error.id();
    }
  };
  EXPECT_EQ(id_of(R"({"path": 1, "id": "b"})"), RequestId("b"));
  EXPECT_EQ(id_of(R"({"pth": 1, "id": 18446744073709551615})"),
            RequestId(std::numeric_limits<std::uint64_t>::max()));
  EXPECT_EQ(id_of(R"({"id": -3})"), RequestId(std::int64_t{-3}));
  EXPECT_EQ(id_of("{"), RequestId());
}

TEST(WorkerRequests, NameFilesAsRecordsAndAsPythonDo) {
  const auto path = [](const std::string& text) {
    return parse_worker_request(R"({"path": ")" + text + "\"}").path;
  };
  EXPECT_EQ(path(R"(caf\\xe9.wav)"), "caf\xE9.wav");
  EXPECT_EQ(path(R"(caf\udce9.wav)"), "caf\xE9.wav");
  EXPECT_EQ(path("caf\u00E9.wav"), "caf\u00E9.wav");
  EXPECT_EQ(path(R"(a\\x5cx41.wav)"), "a\\x41.wav");
  EXPECT_EQ(path(R"(a\\b.wav)"), "a\\b.wav");
}

}  // namespace
}  // namespace w2vbert::tool::testing
