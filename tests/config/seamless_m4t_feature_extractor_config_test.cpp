#include "w2vbert/config/seamless_m4t_feature_extractor_config.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <cmath>
#include <fstream>
#include <string>

#include "support/error_message.h"
#include "support/temporary_directory.h"
#include "support/text_file.h"
#include "w2vbert/core/error.h"

namespace w2vbert::testing {
namespace {

using Config = SeamlessM4TFeatureExtractorConfig;
using ::testing::AllOf;
using ::testing::HasSubstr;

constexpr const char* kPath = "dir/preprocessor_config.json";

Config parse(std::string_view text) { return Config::from_json(text, kPath); }

std::string error_of(std::string_view text) {
  return message_of<ConfigError>([&] { parse(text); });
}

// The file of facebook/w2v-bert-2.0.
constexpr const char* kPublished = R"({"feature_extractor_type": "SeamlessM4TFeatureExtractor",
  "feature_size": 80, "num_mel_bins": 80, "padding_side": "right", "padding_value": 1,
  "processor_class": "Wav2Vec2BertProcessor", "return_attention_mask": true,
  "sampling_rate": 16000, "stride": 2})";

TEST(SeamlessM4TFeatureExtractorConfig, ReadsThePublishedFile) {
  const Config config = parse(kPublished);
  EXPECT_EQ(config.padding_value, 1.0);
  EXPECT_EQ(config.num_mel_bins, 80);
  EXPECT_EQ(config.stride, 2);
}

TEST(SeamlessM4TFeatureExtractorConfig, HasTheDefaultsOfTransformers) {
  const Config config = parse("{}");
  EXPECT_EQ(config.feature_size, 80);
  EXPECT_EQ(config.sampling_rate, 16000);
  EXPECT_EQ(config.num_mel_bins, 80);
  EXPECT_EQ(config.padding_value, 0.0);
  EXPECT_EQ(config.stride, 2);
  EXPECT_EQ(config.padding_side, "right");
  EXPECT_TRUE(config.return_attention_mask);
}

TEST(SeamlessM4TFeatureExtractorConfig, ChecksTypesAndRanges) {
  for (const char* key : {"feature_size", "sampling_rate", "num_mel_bins", "stride"}) {
    for (const char* value : {"true", "80.0", "null", "\"80\"", "-0"}) {
      EXPECT_THAT(error_of(std::string("{\"") + key + "\":" + value + "}"),
                  AllOf(HasSubstr(std::string(kPath) + ": " + key + ": "),
                        HasSubstr("expected an integer")));
    }
    for (const char* value : {"0", "-1", "4294967376"}) {
      EXPECT_THAT(error_of(std::string("{\"") + key + "\":" + value + "}"),
                  AllOf(HasSubstr(std::string(": ") + key + ": "), HasSubstr("expected from ")));
    }
  }
  EXPECT_THAT(error_of(R"({"return_attention_mask":1})"),
              HasSubstr("expected true, false or null"));
  EXPECT_THAT(error_of(R"({"sampling_rate":1})"), HasSubstr("expected from 4000 to 384000"));
}

// HF: `if return_attention_mask:`
TEST(SeamlessM4TFeatureExtractorConfig, TakesNullForNoAttentionMask) {
  EXPECT_FALSE(parse(R"({"return_attention_mask":null})").return_attention_mask);
  EXPECT_FALSE(parse(R"({"return_attention_mask":false})").return_attention_mask);
  EXPECT_TRUE(parse("{}").return_attention_mask);
}

// As json.load does.
TEST(SeamlessM4TFeatureExtractorConfig, PassesOverNaNUnderKeysThatItDoesNotRead) {
  EXPECT_EQ(parse(R"({"dither":NaN,"x":[Infinity,{"y":-Infinity}],"stride":3})").stride, 3);
}

TEST(SeamlessM4TFeatureExtractorConfig, TakesAnyFinitePaddingValue) {
  EXPECT_EQ(parse(R"({"padding_value":-1.5})").padding_value, -1.5);
  EXPECT_EQ(parse(R"({"padding_value":1})").padding_value, 1.0);
  EXPECT_THAT(error_of(R"({"padding_value":NaN})"), HasSubstr("padding_value: NaN, expected from"));
  EXPECT_THAT(error_of(R"({"padding_value":-Infinity})"), HasSubstr("padding_value: -Infinity"));
  EXPECT_THAT(error_of(R"({"padding_value":1e999})"), HasSubstr("padding_value: a number beyond"));
  EXPECT_THAT(error_of(R"({"padding_value":1e39})"), HasSubstr("padding_value: 1e+39"));
  EXPECT_THAT(error_of(R"({"padding_value":"0"})"), HasSubstr("padding_value: \"0\""));
  Config config;
  config.padding_value = std::nan("");
  EXPECT_THAT(message_of<ConfigError>([&] { config.validate(); }), HasSubstr("padding_value: NaN"));
}

TEST(SeamlessM4TFeatureExtractorConfig, ComputesItsFiltersAndItsWindow) {
  for (const char* key : {"mel_filters", "window"}) {
    EXPECT_THAT(error_of(std::string("{\"") + key + "\":[1]}"),
                HasSubstr(std::string(key) + ": a list is not supported, expected no such key"));
  }
}

TEST(SeamlessM4TFeatureExtractorConfig, PadsOnTheRightOnly) {
  EXPECT_THAT(error_of(R"({"padding_side":"left"})"),
              HasSubstr("padding_side: \"left\", expected right"));
}

TEST(SeamlessM4TFeatureExtractorConfig, IsOfOneTypeOnly) {
  EXPECT_THAT(error_of(R"({"feature_extractor_type":"Wav2Vec2FeatureExtractor"})"),
              AllOf(HasSubstr("feature_extractor_type: \"Wav2Vec2FeatureExtractor\""),
                    HasSubstr("expected SeamlessM4TFeatureExtractor")));
  EXPECT_THAT(error_of(R"({"feature_extractor_type":1})"), HasSubstr("expected a string"));
}

TEST(SeamlessM4TFeatureExtractorConfig, WantsAsManyFeaturesAsMelBins) {
  EXPECT_THAT(error_of(R"({"num_mel_bins":40})"),
              AllOf(HasSubstr("feature_size: 80"), HasSubstr("num_mel_bins = 40")));
  EXPECT_EQ(parse(R"({"num_mel_bins":40,"feature_size":40})").num_mel_bins, 40);
}

TEST(SeamlessM4TFeatureExtractorConfig, IsAJsonObject) {
  for (const char* text : {"[]", "1", "", "{", "{}x"}) {
    EXPECT_THAT(error_of(text), HasSubstr(kPath)) << text;
  }
  EXPECT_THAT(error_of(R"({"feature_extractor":3})"),
              HasSubstr("feature_extractor: 3, expected an object"));
}

TEST(SeamlessM4TFeatureExtractorConfig, IsReadFromTheProcessorFirst) {
  const TemporaryDirectory directory;
  write_text(directory / "preprocessor_config.json", R"({"padding_value": 1})");
  EXPECT_EQ(Config::from_pretrained(directory.path()).padding_value, 1.0);
  write_text(directory / "processor_config.json", R"({"processor_class":"Wav2Vec2BertProcessor"})");
  EXPECT_EQ(Config::from_pretrained(directory.path()).padding_value, 1.0);
  write_text(directory / "processor_config.json", R"({"feature_extractor":null})");
  EXPECT_EQ(Config::from_pretrained(directory.path()).padding_value, 1.0);
  for (const char* name : {"feature_extractor", "audio_processor"}) {
    write_text(directory / "processor_config.json",
               std::string("{\"padding_value\":9,\"") + name + R"(":{"padding_value":0.5}})");
    EXPECT_EQ(Config::from_pretrained(directory.path()).padding_value, 0.5) << name;
  }
  write_text(directory / "processor_config.json", R"({"feature_extractor":[]})");
  EXPECT_THAT(message_of<ConfigError>([&] { Config::from_pretrained(directory.path()); }),
              AllOf(HasSubstr(directory / "processor_config.json"),
                    HasSubstr("feature_extractor: a list")));
  write_text(directory / "processor_config.json", R"({"feature_extractor":{"stride":0}})");
  EXPECT_THAT(message_of<ConfigError>([&] { Config::from_pretrained(directory.path()); }),
              AllOf(HasSubstr(directory / "processor_config.json"), HasSubstr("stride: 0")));
}

TEST(SeamlessM4TFeatureExtractorConfig, DoesNotGuessWhenThereIsNoFile) {
  const TemporaryDirectory directory;
  EXPECT_THAT(message_of<ConfigError>([&] { Config::from_pretrained(directory.path()); }),
              AllOf(HasSubstr(directory.path()), HasSubstr("preprocessor_config.json"),
                    HasSubstr("processor_config.json")));
}

TEST(SeamlessM4TFeatureExtractorConfig, DoesNotHangOnAPipe) {
  const TemporaryDirectory directory;
  ASSERT_EQ(::mkfifo((directory / "preprocessor_config.json").c_str(), 0600), 0);
  EXPECT_THAT(message_of<ConfigError>([&] { Config::from_pretrained(directory.path()); }),
              HasSubstr("is a pipe"));
}

TEST(SeamlessM4TFeatureExtractorConfig, SavesWhatIsReadBack) {
  const TemporaryDirectory directory;
  const std::string place = directory / "new/model";
  const Config config = parse(
      R"({"padding_value":1.5,"stride":3,"num_mel_bins":40,"feature_size":40,"sampling_rate":8000,)"
      R"("return_attention_mask":false})");
  config.save_pretrained(place);
  const Config back = Config::from_pretrained(place);
  EXPECT_EQ(back.padding_value, 1.5);
  EXPECT_EQ(back.stride, 3);
  EXPECT_EQ(back.num_mel_bins, 40);
  EXPECT_EQ(back.sampling_rate, 8000);
  EXPECT_FALSE(back.return_attention_mask);
  Config{}.save_pretrained(place);  // over what is there
  EXPECT_EQ(Config::from_pretrained(place).to_json(), Config{}.to_json());
  EXPECT_THAT(Config{}.to_json(),
              HasSubstr(R"("feature_extractor_type": "SeamlessM4TFeatureExtractor")"));
}

TEST(SeamlessM4TFeatureExtractorConfig, SavesNothingBesideAFileThatGoesBeforeIt) {
  const TemporaryDirectory directory;
  const std::string processor = directory / "processor_config.json";
  write_text(processor, R"({"feature_extractor":{"stride":3}})");
  try {
    Config{}.save_pretrained(directory.path());
    FAIL();
  } catch (const StorageError& error) {
    EXPECT_THAT(error.what(), AllOf(HasSubstr(processor), HasSubstr("goes before")));
  }
  EXPECT_FALSE(std::ifstream(directory / "preprocessor_config.json").is_open());
  write_text(processor, R"({"feature_extractor":{"stride":2}})");
  Config{}.save_pretrained(directory.path());
  write_text(processor, R"({"processor_class":"Wav2Vec2BertProcessor"})");
  Config{}.save_pretrained(directory.path());
  EXPECT_TRUE(std::ifstream(directory / "preprocessor_config.json").is_open());
}

TEST(SeamlessM4TFeatureExtractorConfig, SaysWhenThePlaceCannotBeWritten) {
  const TemporaryDirectory directory;
  write_text(directory / "file", "");
  EXPECT_THROW(Config{}.save_pretrained(directory / "file"), StorageError);
  EXPECT_THROW(Config{}.save_pretrained("/proc/w2vbert"), StorageError);
}

}  // namespace
}  // namespace w2vbert::testing
