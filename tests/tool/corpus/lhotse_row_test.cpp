#include "tool/corpus/lhotse_row.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <random>
#include <string>
#include <variant>

#include "audio/audio_part.h"

namespace w2vbert::tool::testing {
namespace {

using ::testing::HasSubstr;

// As CutSet.to_jsonl writes them.
std::string recording(const std::string& channels = "[0]", const std::string& more = "") {
  return R"({"id": "rec", "sources": [{"type": "file", "channels": )" + channels +
         R"(, "source": "audio/rec.flac"}], "sampling_rate": 16000, "num_samples": 48000, )"
         R"("duration": 3.0, "channel_ids": )" +
         channels + more + "}";
}

std::string cut(const std::string& more = R"("start": 0.5, "duration": 1.25, "channel": 0)",
                const std::string& of = recording(), const std::string& type = "MonoCut") {
  return R"({"id": "cut-1", "supervisions": [], )" + more + R"(, "recording": )" + of +
         R"(, "custom": {"x": 1}, "type": ")" + type + "\"}";
}

LhotseRow row_of(const std::string& text) {
  const JsonValue value = JsonValue::parse(text);
  EXPECT_TRUE(is_lhotse_row(value)) << text;
  auto read = read_lhotse_row(value);
  if (const auto* bad = std::get_if<InputProblem>(&read)) {
    ADD_FAILURE() << text << ": " << bad->problem;
    return {};
  }
  return std::get<LhotseRow>(read);
}

std::string problem_of(const std::string& text) {
  const JsonValue value = JsonValue::parse(text);
  EXPECT_TRUE(is_lhotse_row(value)) << text;
  const auto read = read_lhotse_row(value);
  const auto* bad = std::get_if<InputProblem>(&read);
  return bad ? bad->problem + ", expected " + bad->expected : "taken";
}

TEST(LhotseRows, AreCutsOfARecording) {
  const LhotseRow row = row_of(cut());
  EXPECT_EQ(row.id, "cut-1");
  EXPECT_EQ(row.path, "audio/rec.flac");
  ASSERT_TRUE(row.segment);
  EXPECT_EQ(row.segment->offset_seconds, 0.5);
  EXPECT_EQ(row.segment->duration_seconds, 1.25);
  EXPECT_TRUE(row.segment->has_offset);
  EXPECT_FALSE(row.channel);  // the only one
}

TEST(LhotseRows, OfAWholeRecordingAreItsFile) {
  EXPECT_FALSE(row_of(cut(R"("start": 0, "duration": 3.0, "channel": 0)")).segment);
  EXPECT_FALSE(row_of(cut(R"("start": 0.0, "duration": 3.00001, "channel": 0)")).segment);
  EXPECT_TRUE(row_of(cut(R"("start": 0.0, "duration": 2.9999, "channel": 0)")).segment);
  const LhotseRow row = row_of(recording());
  EXPECT_EQ(row.id, "rec");
  EXPECT_EQ(row.path, "audio/rec.flac");
  EXPECT_FALSE(row.segment);
  EXPECT_FALSE(row.channel);
}

TEST(LhotseRows, NameTheChannelOfTheirFile) {
  const std::string times = R"("start": 0, "duration": 1, "channel": )";
  EXPECT_EQ(row_of(cut(times + "1", recording("[0, 1]"))).channel, 2);
  EXPECT_EQ(row_of(cut(times + "0", recording("[0, 1]"))).channel, 1);
  EXPECT_EQ(row_of(cut(times + "3", recording("[2, 3]"))).channel, 2);
  EXPECT_EQ(row_of(cut(times + "[1]", recording("[0, 1]"), "MultiCut")).channel, 2);
  EXPECT_EQ(row_of(cut(times + "[0, 1]", recording("[0, 1]"), "MultiCut")).channel, std::nullopt);
  // A file for each channel.
  const std::string files =
      R"({"sources": [{"type": "file", "channels": [0], "source": "a.wav"}, )"
      R"({"type": "file", "channels": [1], "source": "b.wav"}], "sampling_rate": 8000})";
  EXPECT_EQ(row_of(cut(times + "1", files)).path, "b.wav");
  EXPECT_EQ(row_of(cut(times + "1", files)).channel, std::nullopt);
  EXPECT_THAT(problem_of(cut(times + "[0, 1]", files, "MultiCut")), HasSubstr("more files"));
}

// Lhotse rounds start and duration to samples, and cut_audio() cuts down to whole ones.
TEST(LhotseRows, AreOfTheSamplesThatLhotseTakes) {
  std::mt19937 random(3);
  for (int i = 0; i < 20000; ++i) {
    const int rates[] = {8000, 16000, 22050, 44100, 48000};
    const int rate = rates[random() % 5];
    const auto first = static_cast<std::int64_t>(random() % 1000000);
    const auto samples = static_cast<std::int64_t>(1 + random() % 1000000);
    // Eight digits, as Lhotse's fastcopy and truncate leave them.
    char start[32], duration[32];
    std::snprintf(start, sizeof start, "%.8f", static_cast<double>(first) / rate);
    std::snprintf(duration, sizeof duration, "%.8f", static_cast<double>(samples) / rate);
    const std::string of = R"({"sources": [{"type": "file", "channels": [0], "source": "a"}], )"
                           R"("sampling_rate": )" +
                           std::to_string(rate) + "}";
    const LhotseRow row = row_of(cut(
        R"("channel": 0, "start": )" + std::string(start) + R"(, "duration": )" + duration, of));
    ASSERT_TRUE(row.segment);
    const auto part =
        part_of_audio(1e7, rate, row.segment->offset_seconds, row.segment->duration_seconds);
    ASSERT_TRUE(part);
    ASSERT_EQ(part->first, static_cast<double>(first)) << start << " at " << rate;
    ASSERT_EQ(part->end, static_cast<double>(first + samples)) << duration << " at " << rate;
  }
}

TEST(LhotseRows, ThatCannotBeTakenSayWhy) {
  const std::string times = R"("start": 0.5, "duration": 1)";
  EXPECT_THAT(problem_of(R"({"id": "m", "tracks": [{"cut": )" + cut() +
                         R"(, "offset": 0.0}], "type": "MixedCut"})"),
              HasSubstr("is a mix of several cuts"));
  EXPECT_THAT(problem_of(R"({"id": "m", "tracks": []})"), HasSubstr("is a mix of several cuts"));
  EXPECT_THAT(problem_of(R"({"id": "p", "duration": 1.0, "sampling_rate": 16000, )"
                         R"("feat_value": -23.0, "num_samples": 16000, "type": "PaddingCut"})"),
              HasSubstr("is a padding cut"));
  EXPECT_THAT(problem_of(R"({"id": "x", "type": "DataCut", "start": 0})"),
              HasSubstr("is of the type \"DataCut\""));
  EXPECT_THAT(problem_of(R"({"id": "f", "start": 0.0, "duration": 1.0, "channel": 0, )"
                         R"("features": {"type": "fbank"}, "type": "MonoCut"})"),
              HasSubstr("has features alone, and no recording"));
  EXPECT_THAT(problem_of(R"({"id": "s", "recording_id": "rec", "start": 0.0, "duration": 1.0, )"
                         R"("channel": 0, "text": "a"})"),
              HasSubstr("has no recording"));
  EXPECT_THAT(problem_of(cut(times + R"(, "channel": 0)",
                             recording("[0]", R"(, "transforms": [{"name": "Speed"}])"))),
              HasSubstr("has transforms"));
  EXPECT_EQ(problem_of(cut(times + R"(, "channel": 0)", recording("[0]", R"(, "transforms": [])"))),
            "taken");
  for (const char* type : {"command", "url", "memory", "shar"}) {
    EXPECT_THAT(problem_of(cut(times + R"(, "channel": 0)",
                               R"({"sources": [{"type": ")" + std::string(type) +
                                   R"(", "channels": [0], "source": "x"}], "sampling_rate": 1})")),
                HasSubstr("of the type \"" + std::string(type) + "\""));
  }
  EXPECT_THAT(problem_of(cut(times + R"(, "channel": 2)", recording("[0, 1]"))),
              HasSubstr("has a channel that its recording does not have"));
  EXPECT_THAT(problem_of(cut(times + R"(, "channel": [1, 0])", recording("[0, 1]"), "MultiCut")),
              HasSubstr("has 2 of 2 channels, expected one channel, or all in their order"));
  EXPECT_THAT(problem_of(cut(times)), HasSubstr("has no channel"));
  EXPECT_THAT(problem_of(cut(R"("start": -1, "duration": 1, "channel": 0)")),
              HasSubstr("has no start"));
  for (const char* duration : {"0", "-1", "1e10", "\"1\"", "null", "0.00001"}) {
    EXPECT_THAT(
        problem_of(cut(R"("start": 0, "channel": 0, "duration": )" + std::string(duration))),
        HasSubstr("has no duration"));
  }
  EXPECT_THAT(problem_of(R"({"start": 0, "recording": {}})"), HasSubstr("has no id"));
  EXPECT_THAT(problem_of(R"({"id": "a", "recording": null, "channel": 0})"),
              HasSubstr("has no recording"));
  EXPECT_THAT(problem_of(R"({"id": "a", "recording": {"sources": []}, "channel": 0})"),
              HasSubstr("has no sources"));
  EXPECT_THAT(problem_of(R"({"id": "a", "recording": {"sources": [{"type": "file"}]}, )"
                         R"("channel": 0})"),
              HasSubstr("has no channels"));
  EXPECT_THAT(problem_of(R"({"id": "a", "channel": 0, "start": 0, "duration": 1, "recording": )"
                         R"({"sources": [{"type": "file", "channels": [0], "source": "a"}]}})"),
              HasSubstr("has no sampling_rate"));
}

TEST(LhotseRows, AreNotRowsOfOtherLists) {
  for (const char* text : {R"({"audio_filepath": "a.wav", "duration": 1})",
                           R"({"file_name": "a.wav"})", "{}", R"({"type": "file"})", "[]", "1"}) {
    EXPECT_FALSE(is_lhotse_row(JsonValue::parse(text))) << text;
  }
}

}  // namespace
}  // namespace w2vbert::tool::testing
