#include "w2vbert/checkpoint/shard_index.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "w2vbert/core/error.h"

namespace w2vbert {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Pair;
using ::testing::SizeIs;

constexpr const char* kPath = "dir/model.safetensors.index.json";

ShardIndex parse(std::string_view text) { return parse_shard_index(text, kPath); }

std::string refusal(std::string_view text) {
  try {
    parse(text);
  } catch (const CheckpointError& error) {
    const std::string what = error.what();
    EXPECT_LT(what.size(), 2048U);
    EXPECT_THAT(what, HasSubstr(kPath));
    return what;
  }
  return "accepted";
}

std::string with_file(const std::string& json_string) {
  return R"({"weight_map":{"a":)" + json_string + "}}";
}

TEST(ShardIndex, MapsTensorsToFiles) {
  const ShardIndex index = parse(R"({"metadata":{"total_parameters":5,"total_size":28},)"
                                 R"("weight_map":{"b":"two.st","a":"one.st","c":"one.st"}})");
  EXPECT_THAT(index.weight_map,
              ElementsAre(Pair("a", "one.st"), Pair("b", "two.st"), Pair("c", "one.st")));
  EXPECT_EQ(index.total_size, 28U);
}

TEST(ShardIndex, NeedsNoMetadata) {
  for (const char* metadata :
       {"", R"("metadata":null,)", R"("metadata":{},)", R"("metadata":{"total_size":1.5},)",
        R"("metadata":{"total_size":-3},)", R"("metadata":[{"total_size":3}],)", R"("metadata":7,)",
        R"("metadata":{"x":{"total_size":3}},)", R"("total_size":3,)"}) {
    const ShardIndex index = parse(std::string("{") + metadata + R"("weight_map":{"a":"x"}})");
    EXPECT_EQ(index.total_size, std::nullopt) << metadata;
    EXPECT_THAT(index.weight_map, SizeIs(1)) << metadata;
  }
}

TEST(ShardIndex, IgnoresOtherKeys) {
  const ShardIndex index = parse(
      R"({"x":{"weight_map":{"n":"f"},"metadata":{"total_size":1}},"y":[1,[{"weight_map":2}]],)"
      R"("weight_map":{"weight_map":"f","metadata":"g"},"z":null})");
  EXPECT_THAT(index.weight_map, ElementsAre(Pair("metadata", "g"), Pair("weight_map", "f")));
}

TEST(ShardIndex, IsAnObjectWithANonEmptyWeightMapOfStrings) {
  for (const char* text : {"[]", "1", "null", "\"a\""}) {
    EXPECT_THAT(refusal(text), HasSubstr("expected a JSON object")) << text;
  }
  EXPECT_THAT(refusal("{}"), HasSubstr("weight_map: is missing or empty"));
  EXPECT_THAT(refusal(R"({"weight_map":{}})"), HasSubstr("weight_map: is missing or empty"));
  for (const char* value : {"null", "1", "\"a\"", "[]", "true"}) {
    EXPECT_THAT(refusal(std::string(R"({"weight_map":)") + value + "}"),
                AllOf(HasSubstr("weight_map: "), HasSubstr("expected an object of tensor names")))
        << value;
  }
  for (const char* value : {"null", "1", "[]", "{}", "true", "[\"a\"]"}) {
    EXPECT_THAT(refusal(with_file(value)), HasSubstr("a: its file is ")) << value;
  }
}

TEST(ShardIndex, IsStrictJson) {
  for (const char* text : {"", "{", R"({"weight_map":{"a":"x",}})", R"({"weight_map":{"a":"x"}} x)",
                           "\xEF\xBB\xBF{}", R"({"weight_map":{"a":NaN}})"}) {
    EXPECT_NE(refusal(text), "accepted") << text;
  }
  EXPECT_THAT(refusal(R"({"weight_map":{"a":"x","a":"x"}})"), HasSubstr("\"a\" stands twice"));
  EXPECT_THAT(refusal(R"({"weight_map":{"a":"x"},"weight_map":{"b":"x"}})"),
              HasSubstr("\"weight_map\" stands twice"));
}

TEST(ShardIndex, NamesPlainFilesOfItsDirectoryOnly) {
  for (const char* name : {"\"\"", "\".\"", "\"..\"", "\"/etc/passwd\"", "\"../x\"", "\"a/b\"",
                           "\"a/\"", "\"a\\\\b\"", "\"a\\u0000b\"", "\"a\\nb\"",
                           "\"\\u002e\\u002e\"", "\"a\\/b\"", "\"model.safetensors.index.json\""}) {
    EXPECT_THAT(refusal(with_file(name)),
                AllOf(HasSubstr("a: its file is "), HasSubstr("plain name")))
        << name;
  }
  EXPECT_THAT(refusal(with_file("\"" + std::string(256, 'x') + "\"")), HasSubstr("plain name"));
  for (const std::string name :
       {"model-00001-of-00002.safetensors", "...", "..a", "a b", "\xC3\xA4"}) {
    EXPECT_EQ(parse(with_file("\"" + name + "\"")).weight_map.at("a"), name);
  }
  EXPECT_EQ(refusal(with_file("\"" + std::string(255, 'x') + "\"")), "accepted");
}

TEST(ShardIndex, NamesAHundredThousandFilesAtMost) {
  std::string text = R"({"weight_map":{"t":"0")";
  for (int i = 1; i < 100'000; ++i)
    text += ",\"t" + std::to_string(i) + "\":\"" + std::to_string(i) + "\"";
  EXPECT_THAT(parse(text + "}}").weight_map, SizeIs(100'000));
  EXPECT_THAT(parse(text + R"(,"more":"99999"}})").weight_map, SizeIs(100'001));
  EXPECT_THAT(refusal(text + R"(,"more":"100000"}})"), HasSubstr("more than 100000 files"));
}

TEST(ShardIndex, HasAHundredMillionBytesAtMost) {
  std::string text = R"({"weight_map":{"a":"x"}})";
  text.resize(kMaxShardIndexBytes, ' ');
  EXPECT_EQ(refusal(text), "accepted");
  EXPECT_THAT(refusal(text + ' '), HasSubstr("at most 100000000"));
}

}  // namespace
}  // namespace w2vbert
