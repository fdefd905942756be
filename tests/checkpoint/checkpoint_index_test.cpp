#include "checkpoint/checkpoint_index.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdint>
#include <string>
#include <vector>

#include "w2vbert/core/error.h"

namespace w2vbert::testing {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Pair;
using ::testing::SizeIs;

constexpr const char* kPath = "dir/model.safetensors.index.json";

CheckpointIndex parse(std::string_view text) { return parse_checkpoint_index(text, kPath); }

std::string error_of(std::string_view text) {
  try {
    parse(text);
  } catch (const CheckpointError& error) {
    std::string what = error.what();
    EXPECT_LT(what.size(), 2048U);
    EXPECT_THAT(what, HasSubstr(kPath));
    return what;
  }
  return "accepted";
}

std::string with_file(const std::string& json_string) {
  return R"({"weight_map":{"a":)" + json_string + "}}";
}

TEST(CheckpointIndex, MapsTensorsToFiles) {
  const CheckpointIndex index = parse(R"({"metadata":{"total_parameters":5,"total_size":28},)"
                                      R"("weight_map":{"b":"two.st","a":"one.st","c":"one.st"}})");
  EXPECT_THAT(index.weight_map,
              ElementsAre(Pair("a", "one.st"), Pair("b", "two.st"), Pair("c", "one.st")));
  EXPECT_EQ(index.total_size, 28U);
  EXPECT_EQ(index.total_parameters, 5U);
}

TEST(CheckpointIndex, NeedsNoMetadata) {
  for (const char* metadata :
       {"", R"("metadata":null,)", R"("metadata":{},)", R"("metadata":{"total_size":1.5},)",
        R"("metadata":{"total_size":-3},)", R"("metadata":[{"total_size":3}],)", R"("metadata":7,)",
        R"("metadata":{"x":{"total_size":3}},)", R"("total_size":3,)"}) {
    const CheckpointIndex index = parse(std::string("{") + metadata + R"("weight_map":{"a":"x"}})");
    EXPECT_EQ(index.total_size, std::nullopt) << metadata;
    EXPECT_THAT(index.weight_map, SizeIs(1)) << metadata;
  }
}

TEST(CheckpointIndex, IgnoresOtherKeys) {
  const CheckpointIndex index = parse(
      R"({"x":{"weight_map":{"n":"f"},"metadata":{"total_size":1}},"y":[1,[{"weight_map":2}]],)"
      R"("weight_map":{"weight_map":"f","metadata":"g"},"z":null})");
  EXPECT_THAT(index.weight_map, ElementsAre(Pair("metadata", "g"), Pair("weight_map", "f")));
}

TEST(CheckpointIndex, IsAnObjectWithANonEmptyWeightMapOfStrings) {
  for (const char* text : {"[]", "1", "null", "\"a\""}) {
    EXPECT_THAT(error_of(text), HasSubstr("expected a JSON object")) << text;
  }
  EXPECT_THAT(error_of("{}"), HasSubstr("weight_map: is missing or empty"));
  EXPECT_THAT(error_of(R"({"weight_map":{}})"), HasSubstr("weight_map: is missing or empty"));
  for (const char* value : {"null", "1", "\"a\"", "[]", "true"}) {
    EXPECT_THAT(error_of(std::string(R"({"weight_map":)") + value + "}"),
                AllOf(HasSubstr("weight_map: "), HasSubstr("expected an object of tensor names")))
        << value;
  }
  for (const char* value : {"null", "1", "[]", "{}", "true", "[\"a\"]"}) {
    EXPECT_THAT(error_of(with_file(value)), HasSubstr("a: its file is ")) << value;
  }
}

TEST(CheckpointIndex, IsStrictJson) {
  for (const char* text : {"", "{", R"({"weight_map":{"a":"x",}})", R"({"weight_map":{"a":"x"}} x)",
                           "\xEF\xBB\xBF{}", R"({"weight_map":{"a":NaN}})"}) {
    EXPECT_NE(error_of(text), "accepted") << text;
  }
  EXPECT_THAT(error_of(R"({"weight_map":{"a":"x","a":"x"}})"), HasSubstr("\"a\" stands twice"));
  EXPECT_THAT(error_of(R"({"weight_map":{"a":"x"},"weight_map":{"b":"x"}})"),
              HasSubstr("\"weight_map\" stands twice"));
}

TEST(CheckpointIndex, NamesPlainFilesOfItsDirectoryOnly) {
  for (const char* name : {"\"\"", "\".\"", "\"..\"", "\"/etc/passwd\"", "\"../x\"", "\"a/b\"",
                           "\"a/\"", "\"a\\\\b\"", "\"a\\u0000b\"", "\"a\\nb\"",
                           "\"\\u002e\\u002e\"", "\"a\\/b\"", "\"model.safetensors.index.json\""}) {
    EXPECT_THAT(error_of(with_file(name)),
                AllOf(HasSubstr("a: its file is "), HasSubstr("plain name")))
        << name;
  }
  EXPECT_THAT(error_of(with_file("\"" + std::string(256, 'x') + "\"")), HasSubstr("plain name"));
  for (const std::string name :
       {"model-00001-of-00002.safetensors", "...", "..a", "a b", "\xC3\xA4"}) {
    EXPECT_EQ(parse(with_file("\"" + name + "\"")).weight_map.at("a"), name);
  }
  EXPECT_EQ(error_of(with_file("\"" + std::string(255, 'x') + "\"")), "accepted");
}

TEST(CheckpointIndex, NamesAHundredThousandFilesAtMost) {
  std::string text = R"({"weight_map":{"t":"0")";
  for (int i = 1; i < 100'000; ++i)
    text += ",\"t" + std::to_string(i) + "\":\"" + std::to_string(i) + "\"";
  EXPECT_THAT(parse(text + "}}").weight_map, SizeIs(100'000));
  EXPECT_THAT(parse(text + R"(,"more":"99999"}})").weight_map, SizeIs(100'001));
  EXPECT_THAT(error_of(text + R"(,"more":"100000"}})"), HasSubstr("more than 100000 files"));
}

TEST(CheckpointIndex, HasAHundredMillionBytesAtMost) {
  std::string text = R"({"weight_map":{"a":"x"}})";
  text.resize(kMaxCheckpointIndexBytes, ' ');
  EXPECT_EQ(error_of(text), "accepted");
  EXPECT_THAT(error_of(text + ' '), HasSubstr("at most 100000000"));
}

TEST(CheckpointIndex, IsWrittenAsItIsRead) {
  CheckpointIndex index;
  index.weight_map = {{"b", "two.st"}, {"a\"\n\xC3\xA4", "one.st"}};
  index.total_size = 28;
  index.total_parameters = 7;
  const std::string text = serialize_shard_index(index, kPath);
  const CheckpointIndex back = parse(text);
  EXPECT_EQ(back.weight_map, index.weight_map);
  EXPECT_EQ(back.total_size, 28U);
  EXPECT_EQ(back.total_parameters, 7U);
  EXPECT_THAT(text, ::testing::EndsWith("}\n"));
  index.weight_map = {{"\xFF", "x"}};
  EXPECT_THROW(serialize_shard_index(index, kPath), CheckpointError);
}

// Beside these examples, whole models are compared with transformers in save_pretrained_test.
TEST(SplitIntoShards, FillsOneAfterAnotherAndGivesALargeTensorItsOwn) {
  using Shards = std::vector<std::vector<std::size_t>>;
  const auto split = [](std::vector<std::uint64_t> sizes, std::uint64_t most) {
    return split_into_shards(sizes, most);
  };
  EXPECT_EQ(split({6, 6, 2, 6, 2, 2}, 10), (Shards{{0}, {1, 2}, {3, 4, 5}}));
  EXPECT_EQ(split({4, 11, 6, 1}, 10), (Shards{{1}, {0, 2}, {3}}));
  EXPECT_EQ(split({1, 2, 3}, 6), (Shards{{0, 1, 2}}));
  EXPECT_EQ(split({1, 2}, 0), (Shards{{0}, {1}}));
  EXPECT_EQ(split({~std::uint64_t{0}, 1, ~std::uint64_t{0} - 1}, ~std::uint64_t{0} - 1),
            (Shards{{0}, {1}, {2}}));
  EXPECT_EQ(split({}, 10), Shards{});
}

TEST(ShardFileName, IsTransformers) {
  EXPECT_EQ(shard_file_name(0, 1), "model.safetensors");
  EXPECT_EQ(shard_file_name(0, 3), "model-00001-of-00003.safetensors");
  EXPECT_EQ(shard_file_name(122, 123456), "model-00123-of-123456.safetensors");
  EXPECT_TRUE(is_shard_file_name("model-00123-of-123456.safetensors"));
  for (const char* other :
       {"model.safetensors", "model-1-of-2.safetensors", "model-00001-of-00002.bin",
        "my-model-00001-of-00002.safetensors", "model-00001-of-00002.safetensors.index.json",
        "model-00001-of-0000x.safetensors", "model-00001-of-00002", ""}) {
    EXPECT_FALSE(is_shard_file_name(other)) << other;
  }
}

// Expected values: huggingface_hub's parse_size_to_int, but for what it takes as a size and is
// none.
TEST(ParseShardSize, KnowsPowersOfAThousand) {
  EXPECT_EQ(parse_shard_size("50GB"), 50'000'000'000U);
  EXPECT_EQ(parse_shard_size("5kb"), 5'000U);
  EXPECT_EQ(parse_shard_size("  1.5 Mb\n"), 1'500'000U);
  EXPECT_EQ(parse_shard_size("0.0019KB"), 1U);
  EXPECT_EQ(parse_shard_size("1e-1TB"), 100'000'000'000U);
  EXPECT_EQ(parse_shard_size("0MB"), 0U);
  for (const char* bad : {"", "5", "GB", "5GiB", "5 G", "-1MB", "infTB", "nanKB", "1e300TB", "5B",
                          "1,5MB", "0x1KB", "1 2KB", "10000000TB"}) {
    EXPECT_EQ(parse_shard_size(bad), std::nullopt) << bad;
  }
}

}  // namespace
}  // namespace w2vbert::testing
