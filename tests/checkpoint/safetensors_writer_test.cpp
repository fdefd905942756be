#include "checkpoint/safetensors_writer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <torch/types.h>

#include <array>
#include <cstring>
#include <filesystem>
#include <string>
#include <vector>

#include "checkpoint/safetensors_stream.h"
#include "support/raw_safetensors.h"
#include "support/temporary_directory.h"
#include "w2vbert/checkpoint/checkpoint.h"
#include "w2vbert/core/error.h"

namespace w2vbert::testing {
namespace {

using ::testing::HasSubstr;

std::string header_of(const std::string& path) {
  const std::string bytes = read_text(path);
  std::uint64_t length = 0;
  for (std::size_t i = 0; i < 8; ++i) {
    length |= std::uint64_t{static_cast<std::uint8_t>(bytes.at(i))} << (8 * i);
  }
  return bytes.substr(8, length);
}

TEST(WriteSafetensors, SortsTheHeaderByNameAndPadsItToEightBytes) {
  const TemporaryDirectory directory;
  const std::string path = directory / "a.safetensors";
  write_safetensors(path,
                    {{"b", torch::tensor({1.0F, 2.0F})}, {"a", torch::tensor({7}, torch::kInt32)}},
                    {{"z", "1"}, {"format", "pt"}});
  const std::string header = header_of(path);
  EXPECT_EQ(header.size() % 8, 0U);
  EXPECT_EQ(header.substr(0, header.find_last_not_of(' ') + 1),
            R"({"__metadata__":{"format":"pt","z":"1"},)"
            R"("a":{"dtype":"I32","shape":[1],"data_offsets":[0,4]},)"
            R"("b":{"dtype":"F32","shape":[2],"data_offsets":[4,12]}})");
  EXPECT_EQ(read_text(path).substr(8 + header.size()),
            std::string("\7\0\0\0\0\0\x80\x3f\0\0\0\x40", 12));
}

TEST(WriteSafetensors, KeepsEveryTensorAlignedWhateverItsName) {
  const TemporaryDirectory directory;
  const std::string path = directory / "a.safetensors";
  write_safetensors(path, {{"a", torch::ones({3}, torch::kUInt8)},
                           {"b", torch::ones({3}, torch::kFloat64)},
                           {"c", torch::ones({3}, torch::kHalf)},
                           {"d", torch::ones({3}, torch::kFloat)}});
  EXPECT_THAT(header_of(path),
              HasSubstr(R"({"a":{"dtype":"U8","shape":[3],"data_offsets":[42,45]})"));
  EXPECT_THAT(header_of(path),
              HasSubstr(R"("b":{"dtype":"F64","shape":[3],"data_offsets":[0,24]})"));
}

TEST(WriteSafetensors, GivesTheSameBytesInWhateverOrderTheTensorsCome) {
  const TemporaryDirectory directory;
  const torch::Tensor x = torch::randn({5, 3}), y = torch::randn({2}),
                      m = torch::ones({4}, torch::kLong);
  write_safetensors(directory / "1", {{"x", x}, {"y", y}, {"m", m}}, {{"k", "v"}, {"a", "b"}});
  write_safetensors(directory / "2", {{"m", m}, {"y", y}, {"x", x}}, {{"a", "b"}, {"k", "v"}});
  EXPECT_EQ(read_text(directory / "1"), read_text(directory / "2"));
  EXPECT_EQ(
      write_safetensors(directory / "1", {{"m", m}, {"y", y}, {"x", x}}, {{"a", "b"}, {"k", "v"}}),
      Committed::kWasThere);
}

TEST(WriteSafetensors, WritesEveryDtypeShapeAndStrideAsItIs) {
  const TemporaryDirectory directory;
  const std::string path = directory / "a.safetensors";
  NamedTensors tensors;
  for (const auto type : {torch::kBool, torch::kUInt8, torch::kInt8, torch::kInt16, torch::kInt32,
                          torch::kInt64, torch::kUInt16, torch::kUInt32, torch::kUInt64,
                          torch::kHalf, torch::kBFloat16, torch::kFloat, torch::kDouble,
                          torch::kComplexFloat, torch::kFloat8_e4m3fn, torch::kFloat8_e5m2}) {
    tensors.emplace_back(c10::toString(type), torch::randint(0, 2, {3, 2}).to(type));
  }
  const torch::Tensor base = torch::randn({4, 6});
  tensors.emplace_back("transposed", base.t());
  tensors.emplace_back("slice", base.slice(1, 1, 6, 2));
  tensors.emplace_back("expanded", base[0].expand({3, 6}));
  tensors.emplace_back("scalar", torch::tensor(3.5));
  tensors.emplace_back("empty", torch::empty({0, 7}));
  tensors.emplace_back("with grad", base.clone().requires_grad_());
  tensors.emplace_back("conjugate", torch::randn({3}, torch::kComplexFloat).conj());
  write_safetensors(path, tensors);
  const Checkpoint checkpoint = Checkpoint::open(path);
  ASSERT_EQ(checkpoint.tensors().size(), tensors.size());
  for (const auto& [name, tensor] : tensors) {
    const torch::Tensor back = checkpoint.read(name);
    EXPECT_EQ(back.scalar_type(), tensor.scalar_type()) << name;
    EXPECT_EQ(back.sizes(), tensor.sizes()) << name;
    const torch::Tensor plain = tensor.detach().resolve_conj().contiguous();
    EXPECT_EQ(std::memcmp(back.const_data_ptr(), plain.const_data_ptr(), plain.nbytes()), 0)
        << name;
  }
}

TEST(WriteSafetensors, WritesAFileWithoutTensors) {
  const TemporaryDirectory directory;
  write_safetensors(directory / "a", {});
  EXPECT_EQ(header_of(directory / "a"), "{}      ");
  EXPECT_TRUE(Checkpoint::open(directory / "a").tensors().empty());
}

TEST(WriteSafetensors, EscapesNamesAndMetadata) {
  const TemporaryDirectory directory;
  const std::string name = "quote\" back\\ tab\t nul" + std::string(1, '\0') + " \xC3\xA4";
  write_safetensors(directory / "a", {{name, torch::ones({1})}}, {{"line\n", "\x7F\x01"}});
  const Checkpoint checkpoint = Checkpoint::open(directory / "a");
  EXPECT_EQ(checkpoint.tensors().at(0).name, name);
}

TEST(WriteSafetensors, RefusesWhatTheFormatCannotHold) {
  const TemporaryDirectory directory;
  const torch::Tensor one = torch::ones({1});
  const std::vector<std::pair<const char*, NamedTensors>> cases = {
      {"is undefined", {{"x", torch::Tensor()}}},
      {"dtype", {{"x", torch::ones({1}, torch::kComplexDouble)}}},
      {"layout", {{"x", torch::ones({2, 2}).to_sparse()}}},
      {"on meta", {{"x", torch::ones({1}, torch::kMeta)}}},
      {"is given twice", {{"x", one}, {"x", one}}},
      {"cannot be a tensor's name", {{"__metadata__", one}}},
      {"UTF-8", {{"\xFF", one}}},
  };
  for (const auto& [what, tensors] : cases) {
    try {
      write_safetensors(directory / "a", tensors);
      FAIL() << what;
    } catch (const c10::ValueError& error) {
      EXPECT_THAT(error.what_without_backtrace(), HasSubstr(what));
    }
  }
  EXPECT_THROW(write_safetensors(directory / "a", {}, {{"k", "1"}, {"k", "2"}}), c10::ValueError);
  EXPECT_TRUE(std::filesystem::is_empty(directory.path()));
}

TEST(SafetensorsStream, WritesTensorsInTheOrderTheyCome) {
  const TemporaryDirectory directory;
  const std::string path = directory / "a.safetensors";
  const auto b = torch::tensor({1.0F, 2.0F});
  const auto a = torch::tensor({{7, 1}, {8, 2}, {9, 3}}, torch::kInt64);
  SafetensorsStream stream(path, 512);
  stream.add("b", b);
  stream.add("a", a);
  TensorInfo copied;
  copied.name = "c";
  copied.dtype_name = "BF16";
  copied.shape = {2, 1};
  const std::array<std::byte, 4> data = {std::byte{0x80}, std::byte{0x3F}, {}, std::byte{0x40}};
  stream.add(copied, data);
  EXPECT_THROW(stream.add("d", a.t()), c10::ValueError);
  EXPECT_FALSE(std::filesystem::exists(path));
  EXPECT_EQ(stream.commit({{"k", "v"}}, /*in_place_of=*/{}), Committed::kWritten);

  const std::string header = header_of(path);
  EXPECT_EQ(header.size(), 512U - 8U);
  EXPECT_EQ(header.substr(0, header.find_last_not_of(' ') + 1),
            R"({"__metadata__":{"k":"v"},)"
            R"("a":{"dtype":"I64","shape":[3,2],"data_offsets":[8,56]},)"
            R"("b":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},)"
            R"("c":{"dtype":"BF16","shape":[2,1],"data_offsets":[56,60]}})");
  const Checkpoint read = Checkpoint::open(path);
  EXPECT_TRUE(torch::equal(read.read("a"), a));
  EXPECT_TRUE(torch::equal(read.read("b"), b));
  EXPECT_TRUE(torch::equal(read.read("c").to(torch::kFloat), torch::tensor({{1.0F}, {2.0F}})));
}

TEST(WriteSafetensors, SaysWhenThePlaceCannotBeWritten) {
  const TemporaryDirectory directory;
  write_text(directory / "file", "");
  EXPECT_THROW(write_safetensors(directory / "file/a", {{"x", torch::ones({1})}}), StorageError);
}

}  // namespace
}  // namespace w2vbert::testing
