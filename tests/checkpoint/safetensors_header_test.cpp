#include "checkpoint/safetensors_header.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "support/raw_safetensors.h"
#include "support/resident_memory.h"
#include "support/temporary_directory.h"
#include "w2vbert/core/error.h"

namespace w2vbert::testing {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Pair;
using ::testing::SizeIs;

constexpr const char* kPath = "dir/model.safetensors";

SafetensorsHeader parse(std::string_view json, std::uint64_t data_bytes) {
  const std::string head = little_endian_8(json.size()) + std::string(json);
  return parse_safetensors_header(head, head.size() + data_bytes, kPath);
}

template <typename Call>
std::string message_of(Call call) {
  try {
    call();
  } catch (const CheckpointError& error) {
    std::string what = error.what();
    EXPECT_LT(what.size(), 2048U);
    EXPECT_THAT(what, HasSubstr(kPath));
    for (const char c : what) EXPECT_GE(static_cast<unsigned char>(c), 0x20U);
    return what;
  }
  return "accepted";
}

std::string error_of(std::string_view json, std::uint64_t data_bytes = 4) {
  return message_of([&] { parse(json, data_bytes); });
}

// What a whole file is told.
std::string error_of_file(std::string_view bytes) {
  return message_of([&] { parse_safetensors_header(bytes, bytes.size(), kPath); });
}

// An entry "t" with the given fields in place of the right ones; data of 4 bytes.
std::string entry(const std::string& dtype, const std::string& shape, const std::string& offsets) {
  return R"({"t":{"dtype":)" + dtype + R"(,"shape":)" + shape + R"(,"data_offsets":)" + offsets +
         "}}";
}

TEST(SafetensorsHeader, ListsTensorsInTheOrderOfTheirData) {
  const auto header = parse(R"({"b":{"dtype":"F32","shape":[2,3],"data_offsets":[2,26]},)"
                            R"("__metadata__":{"format":"pt","\u00e4":""},)"
                            R"("a":{"data_offsets":[0,2],"shape":[],"dtype":"BF16"}})",
                            26);
  ASSERT_THAT(header.tensors, SizeIs(2));
  EXPECT_EQ(header.tensors[0].name, "a");
  EXPECT_EQ(header.tensors[0].dtype_name, "BF16");
  EXPECT_THAT(header.tensors[0].shape, IsEmpty());
  EXPECT_EQ(header.tensors[0].element_count, 1U);
  EXPECT_EQ(header.tensors[1].name, "b");
  EXPECT_THAT(header.tensors[1].shape, ElementsAre(2, 3));
  EXPECT_EQ(header.tensors[1].begin, 2U);
  EXPECT_EQ(header.tensors[1].end, 26U);
  EXPECT_EQ(header.tensors[1].element_count, 6U);
  EXPECT_THAT(header.metadata, ElementsAre(Pair("format", "pt"), Pair("\xC3\xA4", "")));
  EXPECT_EQ(header.find("b"), &header.tensors[1]);
  EXPECT_EQ(header.find("c"), nullptr);
}

TEST(SafetensorsHeader, KnowsWhereTheDataBegins) {
  EXPECT_EQ(parse("{}", 0).data_offset, 10U);
  EXPECT_EQ(parse("  {} \n\t\r", 0).data_offset, 16U);
}

// Rule 1.
TEST(SafetensorsHeader, ChecksTheLengthAgainstTheFile) {
  EXPECT_THAT(error_of_file(""), HasSubstr("has 0 bytes, expected a safetensors file of at least"));
  EXPECT_THAT(error_of_file("1234567"), HasSubstr("has 7 bytes"));
  for (const std::uint64_t length :
       {std::uint64_t{3}, std::uint64_t{100'000'000}, std::uint64_t{100'000'001},
        std::uint64_t{1} << 32, std::uint64_t{1} << 63, ~std::uint64_t{0} - 8,
        ~std::uint64_t{0} - 7, ~std::uint64_t{0}}) {
    EXPECT_THAT(error_of_file(little_endian_8(length) + "{}"),
                HasSubstr("claims a header of " + std::to_string(length) + " bytes"));
  }
  EXPECT_THAT(error_of_file(little_endian_8(100'000'001) + "{}"), HasSubstr("at most 100000000"));
  EXPECT_THAT(error_of_file(little_endian_8(3) + "{}"), HasSubstr("truncated"));
  EXPECT_THAT(error_of_file(little_endian_8(0)), HasSubstr("zeros"));
  EXPECT_THAT(error_of_file(little_endian_8(0) + "{}"), HasSubstr("the header: is empty"));
}

TEST(SafetensorsHeader, MayHaveAHundredMillionBytes) {
  std::string head = little_endian_8(100'000'000) + "{}";
  head.resize(100'000'008, ' ');
  EXPECT_THAT(parse_safetensors_header(head, head.size(), kPath).tensors, IsEmpty());
  // A file that has them while the caller did not read them all.
  EXPECT_THAT(
      message_of([&] { parse_safetensors_header(head.substr(0, 520), head.size(), kPath); }),
      HasSubstr("was not handed over whole"));
}

TEST(SafetensorsHeader, IsReadNoFurtherThanItReaches) {
  const TemporaryDirectory directory;
  write_raw_safetensors(directory / "a", "{}  ", std::string(10000, 'd'));
  EXPECT_EQ(read_safetensors_head(InputFile::open<CheckpointError>(directory / "a")),
            little_endian_8(4) + "{}  ");
  // A length that cannot be: some bytes to tell what it is instead, not the whole file.
  write_text(directory / "a", std::string(100'000, 'x'));
  EXPECT_LT(read_safetensors_head(InputFile::open<CheckpointError>(directory / "a")).size(), 1000U);
  write_text(directory / "a", "abc");
  EXPECT_EQ(read_safetensors_head(InputFile::open<CheckpointError>(directory / "a")), "abc");
}

// Rule 2.
TEST(SafetensorsHeader, IsOneJsonObject) {
  EXPECT_EQ(error_of(" \t\r\n{}", 0), "accepted");
  for (const char* json : {"{}\f", "\v{}", "{}x", "{} {}", "{", "\xEF\xBB\xBF{}", "{\"\xFF\":1}",
                           "{\"\xC0\xAF\":1}", "{\"\xED\xA0\x80\":1}", "{\"\xE2\x82\":1}"}) {
    EXPECT_THAT(error_of(json, 0), HasSubstr("the header: ")) << json;
  }
  EXPECT_THAT(error_of(std::string_view("{}\0", 3), 0), HasSubstr("the header: malformed JSON"));
  for (const char* json : {"[]", "1", "null", "\"a\"", "true", "-0", "1.5"}) {
    EXPECT_THAT(error_of(json, 0), HasSubstr("expected a JSON object")) << json;
  }
}

// Rule 3.
TEST(SafetensorsHeader, AllowsMetadataOfStringsOrNull) {
  EXPECT_EQ(error_of(R"({"__metadata__":null})", 0), "accepted");
  EXPECT_EQ(error_of(R"({"__metadata__":{}})", 0), "accepted");
  EXPECT_EQ(error_of(R"({"__metadata__":{"dtype":"F32","shape":"[]","a":"b"}})", 0), "accepted");
  for (const char* value : {"1", "true", "\"a\"", "[]"}) {
    EXPECT_THAT(error_of(std::string(R"({"__metadata__":)") + value + "}", 0),
                HasSubstr("__metadata__: "))
        << value;
  }
  for (const char* value : {"1", "null", "false", "[]", "{}", "[\"a\"]"}) {
    EXPECT_THAT(error_of(std::string(R"({"__metadata__":{"k":)") + value + "}}", 0),
                AllOf(HasSubstr("__metadata__: the value of \"k\" is "), HasSubstr("a string")))
        << value;
  }
  EXPECT_THAT(error_of(R"({"__metadata__":{"k":"a","k":"b"}})", 0),
              HasSubstr("\"k\" stands twice"));
  EXPECT_THAT(error_of(R"({"__metadata__":{},"__metadata__":{}})", 0), HasSubstr("stands twice"));
}

// Rule 4.
TEST(SafetensorsHeader, WantsThreeFieldsOfEachTensorOnce) {
  EXPECT_EQ(error_of(entry(R"("F32")", "[1]", "[0,4]")), "accepted");
  EXPECT_THAT(error_of(R"({"t":{"shape":[1],"data_offsets":[0,4]}})"),
              HasSubstr("t: the entry has no dtype"));
  EXPECT_THAT(error_of(R"({"t":{"dtype":"F32","data_offsets":[0,4]}})"), HasSubstr("has no shape"));
  EXPECT_THAT(error_of(R"({"t":{"dtype":"F32","shape":[1]}})"), HasSubstr("has no data_offsets"));
  for (const char* value : {R"(["F32",[1],[0,4]])", "null", "1", "\"F32\"", "true"}) {
    EXPECT_THAT(error_of(std::string(R"({"t":)") + value + "}"),
                AllOf(HasSubstr("t: the entry is "), HasSubstr("expected an object with dtype")))
        << value;
  }
  EXPECT_THAT(error_of(R"({"t":{"dtype":"F32","dtype":"F32","shape":[1],"data_offsets":[0,4]}})"),
              HasSubstr("\"dtype\" stands twice"));
  EXPECT_THAT(error_of(R"({"t":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},)"
                       R"("t":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}})"),
              HasSubstr("\"t\" stands twice"));
  EXPECT_THAT(error_of(R"({"t":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},)"
                       R"("\u0074":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}})",
                       8),
              HasSubstr("\"t\" stands twice"));
}

TEST(SafetensorsHeader, IgnoresFurtherFields) {
  for (const char* value :
       {"1", "null", "\"F64\"", "[]", "{}", R"([[{"dtype":["F64"]}],{}])", "-1.5e300",
        R"({"dtype":"F64","shape":[9],"data_offsets":[1,2],"x":{"shape":{}}})"}) {
    const auto header = parse(std::string(R"({"t":{"dtype":"F32","x":)") + value +
                                  R"(,"shape":[1],"y":[0],"data_offsets":[0,4]}})",
                              4);
    ASSERT_THAT(header.tensors, SizeIs(1)) << value;
    EXPECT_EQ(header.tensors[0].dtype_name, "F32");
    EXPECT_THAT(header.tensors[0].shape, ElementsAre(1));
  }
}

TEST(SafetensorsHeader, RefusesNumbersThatFitNoTypeEvenInFurtherFields) {
  for (const char* value :
       {"1e999", "123456789012345678901234567890", "[-1e999]", R"({"a":1e-999})"}) {
    EXPECT_THAT(error_of(std::string(R"({"t":{"dtype":"F32","x":)") + value +
                         R"(,"shape":[1],"data_offsets":[0,4]}})"),
                HasSubstr("t: x holds a number beyond"))
        << value;
  }
}

// Rule 5.
TEST(SafetensorsHeader, KnowsEveryDtypeOfTheFormatByItsExactName) {
  const std::vector<std::pair<const char*, int>> dtypes = {
      {"BOOL", 8},    {"U8", 8},          {"I8", 8},          {"F8_E4M3", 8}, {"F8_E5M2", 8},
      {"F8_E8M0", 8}, {"F8_E4M3FNUZ", 8}, {"F8_E5M2FNUZ", 8}, {"I16", 16},    {"U16", 16},
      {"F16", 16},    {"BF16", 16},       {"I32", 32},        {"U32", 32},    {"F32", 32},
      {"C64", 64},    {"I64", 64},        {"U64", 64},        {"F64", 64},    {"F4", 4},
      {"F6_E2M3", 6}, {"F6_E3M2", 6}};
  for (const auto& [name, bits] : dtypes) {
    EXPECT_EQ(dtype_bits(name), bits) << name;
    const auto bytes = static_cast<std::uint64_t>(bits);  // of 8 elements
    EXPECT_EQ(
        error_of(entry(std::string("\"") + name + "\"", "[8]", "[0," + std::to_string(bytes) + "]"),
                 bytes),
        "accepted");
  }
  for (const char* name : {"f32", "F32 ", "", "float32", "F128", "F8", "I4", "F32\\u0000"}) {
    EXPECT_THAT(error_of(entry(std::string("\"") + name + "\"", "[1]", "[0,4]")),
                HasSubstr("t: unknown dtype"))
        << name;
  }
  for (const char* value : {"32", "null", "[\"F32\"]", "{}", "true"}) {
    EXPECT_THAT(error_of(entry(value, "[1]", "[0,4]")), HasSubstr("t: dtype is ")) << value;
  }
}

// Rule 6.
TEST(SafetensorsHeader, TakesAnyRank) {
  EXPECT_EQ(error_of(entry(R"("F32")", "[]", "[0,4]")), "accepted");
  EXPECT_EQ(error_of(entry(R"("F32")", "[1,1,1,1,1,1,1,1,1,1,1,1]", "[0,4]")), "accepted");
  std::string many = "[1";
  for (int i = 0; i < 10000; ++i) many += ",1";
  EXPECT_EQ(error_of(entry(R"("F32")", many + "]", "[0,4]")), "accepted");
}

TEST(SafetensorsHeader, HoldsNoMoreNumbersThanItsText) {
  std::string many = "[1";
  for (int i = 0; i < 1 << 20; ++i) many += ",1";
  EXPECT_THAT(error_of(entry(R"("F32")", many + "]", "[0,4]")),
              HasSubstr("t: shape holds more than 1048576 numbers"));
  EXPECT_THAT(error_of(entry(R"("F32")", "[]", many + "]")),
              HasSubstr("t: data_offsets holds more than 1048576 numbers"));
}

TEST(SafetensorsHeader, TakesUnsignedIntegersAsDimensionsOnly) {
  for (const char* shape : {"[-1]", "[1.0]", "[-0]", "[1e0]", "[true]", "[null]", "[\"1\"]",
                            "[[1]]", "[{}]", "[18446744073709551616]"}) {
    EXPECT_THAT(error_of(entry(R"("F32")", shape, "[0,4]")),
                AllOf(HasSubstr("t: shape holds "), HasSubstr("unsigned 64-bit integers")))
        << shape;
  }
  for (const char* shape : {"1", "null", "{}", "\"[1]\"", "true"}) {
    EXPECT_THAT(error_of(entry(R"("F32")", shape, "[0,4]")), HasSubstr("t: shape is ")) << shape;
  }
}

TEST(SafetensorsHeader, RefusesShapesWhoseSizeOverflows) {
  for (const char* shape :
       {"[9223372036854775808]", "[18446744073709551615]", "[0,9223372036854775808]"}) {
    EXPECT_THAT(error_of(entry(R"("F32")", shape, "[0,0]"), 0), HasSubstr("a dimension of "))
        << shape;
  }
  for (const char* shape :
       {"[4294967296,4294967296]", "[4611686018427387904,2]", "[4611686018427387904,4]",
        "[0,4294967296,4294967296]", "[4294967296,4294967296,0]", "[3037000500,3037000500]"}) {
    EXPECT_THAT(error_of(entry(R"("F32")", shape, "[0,0]"), 0), HasSubstr("does not fit 63 bits"))
        << shape;
  }
  // 2^61 elements are countable, their bits are not.
  EXPECT_THAT(error_of(entry(R"("F32")", "[2305843009213693952]", "[0,0]"), 0),
              HasSubstr("bits does not fit"));
  EXPECT_EQ(error_of(entry(R"("F32")", "[0,9223372036854775807]", "[0,0]"), 0), "accepted");
  EXPECT_EQ(error_of(entry(R"("F32")", "[0,4294967296]", "[0,0]"), 0), "accepted");
}

TEST(SafetensorsHeader, WantsSubByteTensorsToFillWholeBytes) {
  EXPECT_THAT(error_of(entry(R"("F4")", "[3]", "[0,2]"), 2),
              HasSubstr("t: 12 bits are no whole number of bytes"));
  EXPECT_EQ(error_of(entry(R"("F4")", "[2,2]", "[0,2]"), 2), "accepted");
  EXPECT_EQ(error_of(entry(R"("F6_E2M3")", "[4]", "[0,3]"), 3), "accepted");
  EXPECT_EQ(error_of(entry(R"("F4")", "[0]", "[0,0]"), 0), "accepted");
}

// Rule 7.
TEST(SafetensorsHeader, TakesTwoUnsignedOffsets) {
  for (const char* offsets : {"[0]", "[]", "[0,4,8]"}) {
    EXPECT_THAT(error_of(entry(R"("F32")", "[1]", offsets)),
                AllOf(HasSubstr("t: data_offsets has "), HasSubstr("begin and end")));
  }
  for (const char* offsets : {"[0,-4]", "[-0,4]", "[0,4.0]", "[0,18446744073709551620]", "[0,null]",
                              "[0,\"4\"]", "[0,[4]]", "[0,{}]"}) {
    EXPECT_THAT(error_of(entry(R"("F32")", "[1]", offsets)), HasSubstr("t: data_offsets holds "))
        << offsets;
  }
  for (const char* offsets : {"4", "null", "{}", "\"0,4\""}) {
    EXPECT_THAT(error_of(entry(R"("F32")", "[1]", offsets)), HasSubstr("t: data_offsets is "));
  }
}

TEST(SafetensorsHeader, WantsTheOffsetsToSpanTheTensorExactly) {
  for (const char* offsets : {"[0,3]", "[0,5]", "[4,0]", "[4,4]", "[18446744073709551615,3]",
                              "[0,18446744073709551615]"}) {
    EXPECT_THAT(error_of(entry(R"("F32")", "[1]", offsets)),
                AllOf(HasSubstr("t: data_offsets ["), HasSubstr("expected 4 bytes for its dtype")))
        << offsets;
  }
}

std::string two(const std::string& a, const std::string& b) {
  const auto one = [](const std::string& name, const std::string& offsets) {
    return '"' + name + R"(":{"dtype":"U8","shape":[4],"data_offsets":)" + offsets + "}";
  };
  return "{" + one("a", a) + "," + one("b", b) + "}";
}

TEST(SafetensorsHeader, WantsTheTensorsToTileTheData) {
  EXPECT_EQ(error_of(two("[0,4]", "[4,8]"), 8), "accepted");
  EXPECT_EQ(error_of(two("[4,8]", "[0,4]"), 8), "accepted");
  EXPECT_THAT(error_of(two("[0,4]", "[5,9]"), 9), HasSubstr("b: its data begins at 5, expected 4"));
  EXPECT_THAT(error_of(two("[0,4]", "[3,7]"), 8), HasSubstr("b: its data begins at 3, expected 4"));
  EXPECT_THAT(error_of(two("[0,4]", "[0,4]"), 8), HasSubstr("its data begins at 0, expected 4"));
  EXPECT_THAT(error_of(two("[1,5]", "[5,9]"), 9), HasSubstr("a: its data begins at 1, expected 0"));
}

TEST(SafetensorsHeader, WantsEmptyTensorsInsideTheTiling) {
  const auto with_empty = [](const std::string& offsets) {
    return R"({"e":{"dtype":"F32","shape":[0],"data_offsets":)" + offsets +
           R"(},"f":{"dtype":"F32","shape":[3,0],"data_offsets":)" + offsets +
           R"(},"a":{"dtype":"U8","shape":[4],"data_offsets":[0,4]}})";
  };
  EXPECT_EQ(error_of(with_empty("[0,0]"), 4), "accepted");
  EXPECT_EQ(error_of(with_empty("[4,4]"), 4), "accepted");
  EXPECT_THAT(error_of(with_empty("[2,2]"), 4), HasSubstr("its data begins at 2"));
  EXPECT_THAT(error_of(with_empty("[5,5]"), 4), HasSubstr("its data begins at 5"));
}

// Rule 8.
TEST(SafetensorsHeader, WantsTheDataToEndWithTheFile) {
  EXPECT_THAT(error_of(entry(R"("F32")", "[1]", "[0,4]"), 5),
              HasSubstr("t: the file holds 5 bytes of data, expected 4"));
  EXPECT_THAT(error_of(entry(R"("F32")", "[1]", "[0,4]"), 3),
              HasSubstr("it is truncated, expected 4"));
  EXPECT_THAT(error_of(entry(R"("F32")", "[0]", "[0,0]"), 1), HasSubstr("holds 1 bytes of data"));
  EXPECT_THAT(error_of("{}", 1), HasSubstr("holds 1 bytes of data, expected 0"));
  // 8 + n + end wraps to the size of the file.
  EXPECT_THAT(error_of(R"({"t":{"dtype":"U8","shape":[18446744073709551000],)"
                       R"("data_offsets":[0,18446744073709551000]}})"),
              HasSubstr("t: "));
}

// Rule 10.
TEST(SafetensorsHeader, TellsWhatAForeignFileIs) {
  EXPECT_THAT(error_of_file("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 5\n"),
              HasSubstr("git lfs pull"));
  for (const char* page : {"<!DOCTYPE html>\n<html>", "<html><head>", "\n\n  <!doctype html>",
                           "<?xml version='1.0'?><Error>"}) {
    EXPECT_THAT(error_of_file(page), HasSubstr("web page"));
  }
  EXPECT_THAT(error_of_file(std::string("PK\x03\x04\0\0\x08\x08\0\0", 10) + "archive/data.pkl"),
              AllOf(HasSubstr("zip"), HasSubstr("save_pretrained")));
  const auto zip_of = [](const std::string& name) {
    return std::string("PK\x03\x04\x14\0\0\0\0\0\0\0\x21\0", 14) + std::string(12, 'x') +
           static_cast<char>(name.size()) + std::string("\0\0\0", 3) + name + "data";
  };
  EXPECT_THAT(error_of_file(zip_of("archive/data.pkl")), HasSubstr("PyTorch .bin or .pt"));
  EXPECT_THAT(error_of_file(zip_of("arr_0.npy")),
              HasSubstr("is an archive of NumPy's arrays (.npz)"));
  EXPECT_THAT(error_of_file("\x93NUMPY\x01\x01v\x01{'descr': '<f4'"), HasSubstr("(.npy)"));
  EXPECT_THAT(error_of_file("\x89HDF\r\n\x1a\n\x01\x01"), HasSubstr("HDF5"));
  EXPECT_THAT(error_of_file("\x08\x07\x12\x07pytorch\x1a\x03"), HasSubstr("ONNX"));
  EXPECT_THAT(error_of_file("data.pkl" + std::string(249, '\0') + "ustar"), HasSubstr("tar"));
  EXPECT_THAT(error_of_file("\x80\x02}q\x01(X\x05\x01\x01\x01linear"), HasSubstr("pickle"));
  EXPECT_THAT(error_of_file("\x80\x05}q\x01(X\x05\x01\x01\x01linear"), HasSubstr("pickle"));
  EXPECT_THAT(error_of_file(std::string("GGUF\x03\0\0\0\x10\0\0\0", 12)), HasSubstr("GGUF"));
  EXPECT_THAT(error_of_file("\x1f\x8b\x08\x01\x01\x01\x01\x01\x01\x01"), HasSubstr("gzip"));
  EXPECT_THAT(error_of_file(std::string(4096, '\0')), HasSubstr("zeros"));
  EXPECT_THAT(error_of_file("{\"a\": 1, \"b\": 2}"), HasSubstr("JSON"));
  EXPECT_THAT(error_of_file("<br>"), HasSubstr("web page"));
}

TEST(SafetensorsHeader, IsNoForeignFileForTheSakeOfItsLength) {
  // Lengths whose bytes begin a pickle (80 02, 80 03, 80 04), a gzip file, a web page, a JSON text.
  for (const std::size_t length : {0x280U, 0x380U, 0x480U, 0x580U, 0x8b1fU, 0x3cU, 0x7bU}) {
    std::string json = entry(R"("U8")", "[4]", "[0,4]");
    ASSERT_LT(json.size(), 0x3cU + 8);
    json = length < json.size() ? std::string("{}") : json;
    const std::uint64_t data = json == "{}" ? 0 : 4;
    json.resize(length, ' ');
    EXPECT_EQ(error_of(json, data), "accepted") << length;
  }
  // Broken, but safetensors all the same.
  for (const std::size_t length : {0x280U, 0x7bU, 0x3cU}) {
    std::string json = R"({"t":1})";
    json.resize(length, ' ');
    EXPECT_THAT(error_of(json, 0), HasSubstr("t: the entry is 1")) << length;
    json[1] = ' ';
    json[2] = 't';
    EXPECT_THAT(error_of(json, 0), HasSubstr("the header: malformed JSON")) << length;
    EXPECT_THAT(error_of_file(little_endian_8(length) + "{\"t\":"), HasSubstr("truncated"))
        << length;
  }
  std::string zip = "{}";
  zip.resize(0x04034b50, ' ');  // "PK\3\4"
  EXPECT_EQ(error_of(zip, 0), "accepted");
}

TEST(SafetensorsHeader, NeverRepeatsNamesAtLengthNorRaw) {
  const std::string name(100'000, 'n');
  EXPECT_THAT(error_of("{\"" + name + R"(":{"dtype":"F32","shape":[1],"data_offsets":[0,5]}})"),
              HasSubstr("nnn..."));
  EXPECT_THAT(error_of(R"({"a\u001b[31m\n":{"dtype":"F32","shape":[1],"data_offsets":[0,5]}})"),
              HasSubstr("a\\x1b[31m\\x0a: "));
  EXPECT_THAT(error_of(R"({"a%s%n":{"dtype":"%s","shape":[1],"data_offsets":[0,4]}})"),
              HasSubstr("a%s%n: unknown dtype \"%s\""));
}

// Its names are views of the text that was read, and of copies where that spells them otherwise.
TEST(SafetensorsHeader, OutlivesTheTextThatItWasReadFrom) {
  SafetensorsHeader header;
  {
    SafetensorsHeader read = parse(
        R"({"\u0062":{"dt\u0079pe":"F3\u0032","shape":[2,3],"data_offsets":[0,24]},)"
        R"("a":{"dtype":"U8","shape":[],"data_offsets":[24,25]},"__metadata__":{"k\n":"\u00e4"}})",
        25);
    header = read;
  }
  ASSERT_THAT(header.tensors, SizeIs(2));
  EXPECT_EQ(header.tensors[0].name, "b");
  EXPECT_EQ(header.tensors[0].dtype_name, "F32");
  EXPECT_THAT(header.tensors[0].shape, ElementsAre(2, 3));
  EXPECT_EQ(header.tensors[1].name, "a");
  EXPECT_EQ(header.metadata_value("k\n"), "\u00e4");
}

TEST(SafetensorsHeader, TakesAtMostThreeTimesItsSize) {
#ifdef __SANITIZE_ADDRESS__
  GTEST_SKIP() << "AddressSanitizer keeps what is freed";
#endif
  if (!forget_peak()) GTEST_SKIP() << "the most memory cannot be told here";
  constexpr std::size_t kBytes = 30'000'000;
  constexpr std::int64_t kBeside = 64 << 20;  // for what weighs more than its text
  const auto filled = [](std::string json, const auto& entry, const std::string& end) {
    for (int i = 0; json.size() < kBytes; ++i) json += (i == 0 ? "" : ",") + entry(i);
    return json + end;
  };
  const std::string ones = [] {
    std::string dimensions = "1";
    for (int i = 1; i < 100'000; ++i) dimensions += ",1";
    return dimensions;
  }();
  const auto number = [](int i) { return std::to_string(i); };
  const auto tensor = [&](int i, const std::string& shape, const std::string& offsets) {
    return '"' + number(i) + R"(":{"dtype":"U8","shape":[)" + shape + R"(],"data_offsets":[)" +
           offsets + "]}";
  };
  const auto is_within = [](const std::string& name, const std::string& json, std::int64_t beside) {
    std::string head = little_endian_8(json.size()) + json;
    const auto size = static_cast<std::int64_t>(head.size());
    ASSERT_TRUE(forget_peak());
    const std::int64_t before = resident("VmRSS") - size;  // the header keeps the text
    try {
      parse_safetensors_header(std::move(head), static_cast<std::uint64_t>(size) + 1000, kPath);
    } catch (const CheckpointError&) {  // of the tensors' data, at the end
    }
    EXPECT_LE(resident("VmHWM") - before, 3 * size + beside) << name;
  };
  const std::string metadata = R"({"__metadata__":{)";
  const auto entry = [&](int i) {
    return '"' + number(i) + R"(":"a value as there are in files")";
  };
  is_within("entries", filled(metadata, entry, "}}"), 0);
  const auto escaped = [&](int i) { return "\"\\n" + number(i) + R"(":"\n and so on, in files")"; };
  is_within("escaped", filled(metadata, escaped, "}}"), 0);
  is_within("tensors",
            filled(
                "{", [&](int i) { return tensor(i, "0", "0,0"); }, "}"),
            0);
  is_within("one value", metadata + R"("k":")" + std::string(kBytes, 'v') + "\"}}", 0);
  const auto unread = [&](int i) { return '"' + number(i) + "\":0"; };
  is_within("unread", filled(R"({"t":{"x":{)", unread, "}}}"), 0);
  const auto shapes = [&](int i) { return tensor(i, ones, number(i) + "," + number(i + 1)); };
  is_within("shapes", filled("{", shapes, "}"), kBeside);
  const auto short_entry = [&](int i) { return '"' + number(i) + "\":\"\""; };
  is_within("short entries", filled(metadata, short_entry, "}}"), kBeside);
}

TEST(SafetensorsHeader, HoldsSoManyShortEntriesAndNoMore) {
  std::string entries = R"({"__metadata__":{"k":"v")";
  for (int i = 0; i < 1 << 20; ++i) entries += ",\"" + std::to_string(i) + "\":\"\"";
  EXPECT_THAT(error_of(entries + "}}", 0),
              HasSubstr("__metadata__: holds more than 1048576 entries"));
  std::string dimensions = "1";
  for (int i = 1; i < 1 << 20; ++i) dimensions += ",1";
  std::string shapes = "{";
  for (int i = 0; i < 9; ++i) {
    shapes += (i == 0 ? "\"" : ",\"") + std::to_string(i) + R"(":{"dtype":"U8","shape":[)" +
              dimensions + R"(],"data_offsets":[)" + std::to_string(i) + "," +
              std::to_string(i + 1) + "]}";
  }
  EXPECT_THAT(error_of(shapes + "}", 9),
              HasSubstr("8: the shapes have more than 8388608 dimensions in all"));
}

TEST(SafetensorsHeader, HoldsAMillionMetadataKeys) {
  std::string json = R"({"__metadata__":{"k":"v")";
  for (int i = 0; i < 1'000'000; ++i) json += ",\"" + std::to_string(i) + "\":\"v\"";
  EXPECT_THAT(parse(json + "}}", 0).metadata, SizeIs(1'000'001));
  EXPECT_THAT(error_of(json + R"(,"500000":"v"}})", 0), HasSubstr("\"500000\" stands twice"));
}

TEST(SafetensorsHeader, HoldsThreeHundredThousandTensors) {
  std::string json = "{";
  for (int i = 0; i < 300'000; ++i) {
    json += (i == 0 ? "\"" : ",\"") + std::to_string(i) +
            R"(":{"dtype":"U8","shape":[1],"data_offsets":[)" + std::to_string(i) + "," +
            std::to_string(i + 1) + "]}";
  }
  const auto header = parse(json + "}", 300'000);
  ASSERT_THAT(header.tensors, SizeIs(300'000));
  EXPECT_EQ(header.find("299999")->begin, 299'999U);
}

}  // namespace
}  // namespace w2vbert::testing
