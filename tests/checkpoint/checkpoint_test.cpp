#include "w2vbert/checkpoint/checkpoint.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <torch/types.h>
#include <torch/utils.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <cstring>
#include <filesystem>
#include <limits>
#include <string>
#include <thread>
#include <vector>

#include "checkpoint/safetensors_writer.h"
#include "support/raw_safetensors.h"
#include "support/temporary_directory.h"
#include "w2vbert/core/error.h"

namespace w2vbert::testing {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

template <typename Call>
std::string message_of(Call call) {
  try {
    call();
  } catch (const CheckpointError& error) {
    EXPECT_LT(std::string_view(error.what()).size(), 2048U);
    return error.what();
  }
  return "no CheckpointError";
}

std::string error_of(const std::string& path) {
  return message_of([&] { Checkpoint::open(path); });
}

long peak_memory_kb() {
  rusage usage{};
  ::getrusage(RUSAGE_SELF, &usage);
  return usage.ru_maxrss;
}

bool same_bits(const torch::Tensor& a, const torch::Tensor& b) {
  return a.scalar_type() == b.scalar_type() && a.sizes() == b.sizes() &&
         std::memcmp(a.contiguous().const_data_ptr(), b.contiguous().const_data_ptr(),
                     a.nbytes()) == 0;
}

TEST(Checkpoint, ListsNameDtypeShapeAndFile) {
  const TemporaryDirectory directory;
  const std::string path = directory / "a.safetensors";
  write_safetensors(path, {{"b", torch::zeros({2, 3})}, {"a", torch::zeros({}, torch::kHalf)}});
  const Checkpoint checkpoint = Checkpoint::open(path);
  ASSERT_THAT(checkpoint.tensors(), SizeIs(2));
  const CheckpointTensor& first = checkpoint.tensors()[0];
  EXPECT_EQ(first.name, "b");
  EXPECT_EQ(first.dtype_name, "F32");
  EXPECT_THAT(first.shape, ::testing::ElementsAre(2, 3));
  EXPECT_EQ(first.file, path);
  EXPECT_EQ(first.bytes, 24U);
  EXPECT_EQ(checkpoint.find("a"), &checkpoint.tensors()[1]);
  EXPECT_EQ(checkpoint.find("c"), nullptr);
  EXPECT_THAT(checkpoint.warnings(), IsEmpty());
}

TEST(Checkpoint, ReadsIntoAlignedMemoryFromAnyOffset) {
  const TemporaryDirectory directory;
  const std::string path = directory / "odd.safetensors";
  // A header of odd length, then one byte, then floats: at an odd address in the file.
  const std::string floats("\0\0\x80\x3f\0\0\0\x40", 8);
  write_raw_safetensors(path,
                        R"({"u":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},)"
                        R"("f":{"dtype":"F32","shape":[2],"data_offsets":[1,9]}} )",
                        "\x05" + floats);
  const Checkpoint checkpoint = Checkpoint::open(path);
  const torch::Tensor tensor = checkpoint.read("f");
  EXPECT_EQ(reinterpret_cast<std::uintptr_t>(tensor.const_data_ptr()) % 64, 0U);
  EXPECT_TRUE(torch::equal(tensor, torch::tensor({1.0F, 2.0F})));
  EXPECT_EQ(checkpoint.read("u").item<int>(), 5);
}

TEST(Checkpoint, ConvertsToTheSameBitsAsTorch) {
  const TemporaryDirectory directory;
  torch::manual_seed(1);
  // Halfway cases, subnormals, overflow to infinity, NaN, both zeros, and noise of every size.
  const float inf = std::numeric_limits<float>::infinity();
  torch::Tensor special =
      torch::tensor({1.0F + 1.0F / 2048, 1.0F + 3.0F / 2048, 1.0F + 1.0F / 256, 1.0F + 3.0F / 256,
                     65519.0F, 65520.0F, 3.4e38F, 1e-45F, 6e-8F, 3e-8F, -0.0F, 0.0F, inf, -inf,
                     std::numeric_limits<float>::quiet_NaN()});
  special = torch::cat({special, torch::randn({4000}) * torch::exp(torch::randn({4000}) * 20)});
  NamedTensors tensors;
  for (const auto type : {torch::kFloat, torch::kDouble, torch::kHalf, torch::kBFloat16}) {
    tensors.emplace_back(c10::toString(type), special.to(type));
  }
  tensors.emplace_back("Long", torch::randint(-1000000, 1000000, {500}));
  tensors.emplace_back("Bool", torch::randint(0, 2, {500}).to(torch::kBool));
  write_safetensors(directory / "a", tensors);
  const Checkpoint checkpoint = Checkpoint::open(directory / "a");
  for (const auto& [name, tensor] : tensors) {
    for (const auto type : {torch::kFloat, torch::kDouble, torch::kHalf, torch::kBFloat16}) {
      torch::Tensor destination = torch::empty(tensor.sizes(), type);
      checkpoint.read(name, destination);
      EXPECT_TRUE(same_bits(destination, tensor.to(type))) << name << " to " << type;
    }
  }
}

TEST(Checkpoint, ReadsIntoViewsAndParameters) {
  const TemporaryDirectory directory;
  const torch::Tensor value = torch::randn({3, 4});
  write_safetensors(directory / "a", {{"x", value}, {"h", value.to(torch::kHalf)}});
  const Checkpoint checkpoint = Checkpoint::open(directory / "a");
  for (const char* name : {"x", "h"}) {
    const torch::Tensor expected = checkpoint.read(name).to(torch::kFloat);
    torch::Tensor transposed = torch::zeros({4, 3});
    checkpoint.read(name, transposed.t());
    EXPECT_TRUE(torch::equal(transposed.t(), expected));
    torch::Tensor wide = torch::zeros({3, 8});
    checkpoint.read(name, wide.slice(1, 2, 6));
    EXPECT_TRUE(torch::equal(wide.slice(1, 2, 6), expected));
    EXPECT_EQ(wide.slice(1, 0, 2).abs().sum().item<float>(), 0.0F);
    torch::Tensor parameter = torch::zeros({3, 4}).requires_grad_();
    checkpoint.read(name, parameter);
    EXPECT_TRUE(torch::equal(parameter.detach(), expected));
    EXPECT_TRUE(parameter.is_leaf());
  }
}

TEST(Checkpoint, ConvertsTensorsLargerThanTheStagingBuffer) {
  const TemporaryDirectory directory;
  const torch::Tensor value = torch::randn({9 << 20}).to(torch::kHalf);  // 18 MiB
  write_safetensors(directory / "a", {{"x", value}});
  torch::Tensor destination = torch::empty({9 << 20});
  Checkpoint::open(directory / "a").read("x", destination);
  EXPECT_TRUE(same_bits(destination, value.to(torch::kFloat)));
}

TEST(Checkpoint, ReadsSomeRowsAsFloat32) {
  const TemporaryDirectory directory;
  NamedTensors tensors;
  for (const auto type : {torch::kFloat, torch::kHalf, torch::kBFloat16, torch::kDouble}) {
    tensors.emplace_back(c10::toString(type), torch::randn({7, 3, 1}).to(type));
  }
  tensors.emplace_back("scalar", torch::tensor(1.0F));
  write_safetensors(directory / "model.safetensors", tensors);
  const Checkpoint checkpoint = Checkpoint::open(directory.path());
  for (const auto& [name, tensor] : tensors) {
    if (name == "scalar") continue;
    const auto rows = torch::empty({4, 3, 1});
    checkpoint.read_rows(name, 2, 4, rows.mutable_data_ptr<float>());
    EXPECT_TRUE(same_bits(rows, tensor.slice(0, 2, 6).to(torch::kFloat))) << name;
    EXPECT_THROW(checkpoint.read_rows(name, 4, 4, rows.mutable_data_ptr<float>()), c10::ValueError);
    EXPECT_THROW(checkpoint.read_rows(name, -1, 1, rows.mutable_data_ptr<float>()),
                 c10::ValueError);
  }
  float value = 0;
  EXPECT_THROW(checkpoint.read_rows("scalar", 0, 1, &value), c10::ValueError);
  EXPECT_THAT(message_of([&] { checkpoint.read_rows("other", 0, 1, &value); }), HasSubstr("other"));
}

TEST(Checkpoint, RefusesADestinationOfAnotherShape) {
  const TemporaryDirectory directory;
  write_safetensors(directory / "a", {{"x", torch::randn({3, 4})}});
  const Checkpoint checkpoint = Checkpoint::open(directory / "a");
  for (const auto& wrong : {torch::zeros({4, 3}), torch::zeros({12}), torch::zeros({1, 3, 4})}) {
    EXPECT_THROW(checkpoint.read("x", wrong), c10::ValueError);
  }
  EXPECT_THROW(checkpoint.read("x", torch::Tensor()), c10::ValueError);
}

TEST(Checkpoint, NamesATensorThatIsNotThere) {
  const TemporaryDirectory directory;
  write_safetensors(directory / "a", {{"x", torch::zeros({1})}});
  const Checkpoint checkpoint = Checkpoint::open(directory / "a");
  EXPECT_EQ(message_of([&] { checkpoint.read("y"); }),
            directory / "a" + ": y: is not in the checkpoint");
}

TEST(Checkpoint, ListsAForeignDtypeAndRefusesItOnlyWhenAskedForIt) {
  const TemporaryDirectory directory;
  write_raw_safetensors(directory / "a",
                        R"({"four":{"dtype":"F4","shape":[4],"data_offsets":[0,2]},)"
                        R"("x":{"dtype":"U8","shape":[1],"data_offsets":[2,3]}})",
                        "abc");
  const Checkpoint checkpoint = Checkpoint::open(directory / "a");
  ASSERT_NE(checkpoint.find("four"), nullptr);
  EXPECT_EQ(checkpoint.find("four")->dtype_name, "F4");
  EXPECT_EQ(checkpoint.read("x").item<int>(), 'c');
  EXPECT_THAT(message_of([&] { checkpoint.read("four"); }),
              AllOf(HasSubstr(directory / "a"), HasSubstr("four: has dtype F4")));
}

TEST(Checkpoint, RefusesATruncatedFileWhereverItEnds) {
  const TemporaryDirectory directory;
  write_safetensors(directory / "whole", {{"x", torch::zeros({10})}});
  const std::string bytes = read_text(directory / "whole");
  for (std::size_t size = 0; size < bytes.size(); ++size) {
    write_text(directory / "cut", std::string_view(bytes).substr(0, size));
    EXPECT_THAT(error_of(directory / "cut"), HasSubstr(directory / "cut")) << size;
  }
  write_text(directory / "cut", bytes + "x");
  EXPECT_THAT(error_of(directory / "cut"), HasSubstr(directory / "cut"));
}

TEST(Checkpoint, AllocatesNothingFromClaims) {
  const TemporaryDirectory directory;
  const long before = peak_memory_kb();
  const auto start = std::chrono::steady_clock::now();
  const std::vector<std::string> headers = {
      R"({"x":{"dtype":"F32","shape":[1000000000000],"data_offsets":[0,4000000000000]}})",
      R"({"x":{"dtype":"F32","shape":[4611686018427387904,4],"data_offsets":[0,0]}})",
      R"({"x":{"dtype":"U8","shape":[1],"data_offsets":[18446744073709551615,0]}})",
      R"({"x":{"dtype":"U8","shape":[18446744073709551615],"data_offsets":[0,18446744073709551615]}})",
      R"({"x":{"dtype":"F32","shape":[-1],"data_offsets":[0,4]}})",
  };
  for (const std::string& header : headers) {
    write_raw_safetensors(directory / "a", header, "data");
    EXPECT_THAT(error_of(directory / "a"), HasSubstr(directory / "a")) << header;
  }
  for (const std::uint64_t length :
       {std::uint64_t{100'000'000}, std::uint64_t{100'000'001}, std::uint64_t{1} << 32,
        std::uint64_t{1} << 63, ~std::uint64_t{0}, ~std::uint64_t{0} - 7}) {
    write_text(directory / "a", little_endian_8(length) + "{}");
    EXPECT_THAT(error_of(directory / "a"), HasSubstr(directory / "a")) << length;
  }
  EXPECT_LT(peak_memory_kb() - before, 32 * 1024);
  EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(2));
}

TEST(Checkpoint, ReadsBeyondFourGibibytes) {
  const TemporaryDirectory directory;
  const std::string path = directory / "sparse.safetensors";
  const std::uint64_t far = (std::uint64_t{5} << 30) + 4;
  write_raw_safetensors(path,
                        R"({"hole":{"dtype":"U8","shape":[)" + std::to_string(far) +
                            R"(],"data_offsets":[0,)" + std::to_string(far) +
                            R"(]},"last":{"dtype":"I32","shape":[1],"data_offsets":[)" +
                            std::to_string(far) + "," + std::to_string(far + 4) + "]}}",
                        "");
  const std::uint64_t data = std::filesystem::file_size(path);
  std::filesystem::resize_file(path, data + far + 4);
  const int fd = ::open(path.c_str(), O_WRONLY | O_CLOEXEC);
  const std::int32_t value = 4711;
  ASSERT_EQ(::pwrite(fd, &value, sizeof value, static_cast<off_t>(data + far)), 4);
  ::close(fd);
  const long before = peak_memory_kb();
  EXPECT_EQ(Checkpoint::open(path).read("last").item<int>(), 4711);
  EXPECT_LT(peak_memory_kb() - before, 32 * 1024);
}

TEST(Checkpoint, RefusesAtOnceWhatIsNoFile) {
  const TemporaryDirectory directory;
  ASSERT_EQ(::mkfifo((directory / "fifo").c_str(), 0600), 0);
  std::filesystem::create_directory(directory / "folder.safetensors");
  std::filesystem::create_directory(directory / "as_model");
  std::filesystem::create_directory(directory / "as_model/model.safetensors");
  std::filesystem::create_directory(directory / "fifo_model");
  ASSERT_EQ(::mkfifo((directory / "fifo_model/model.safetensors.index.json").c_str(), 0600), 0);
  const auto start = std::chrono::steady_clock::now();
  for (const std::string& path :
       {directory / "fifo", std::string("/dev/zero"), std::string("/dev/null"),
        directory / "missing", directory / "missing.json", directory / "as_model",
        directory / "fifo_model"}) {
    EXPECT_THAT(error_of(path), HasSubstr(path)) << path;
  }
  EXPECT_THAT(error_of(directory / "folder.safetensors"), HasSubstr("holds no weights"));
  EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(2));
}

TEST(Checkpoint, NoticesAFileThatChangesAfterItWasOpened) {
  const TemporaryDirectory directory;
  const std::string path = directory / "a";
  const torch::Tensor value = torch::zeros({1000});
  write_safetensors(path, {{"x", value}});
  {
    const Checkpoint checkpoint = Checkpoint::open(path);
    std::filesystem::resize_file(path, 200);
    EXPECT_THAT(message_of([&] { checkpoint.read("x"); }), HasSubstr(path));
  }
  std::filesystem::remove(path);
  write_safetensors(path, {{"x", value}});
  {
    const Checkpoint checkpoint = Checkpoint::open(path);
    std::this_thread::sleep_for(std::chrono::milliseconds(20));  // the clock of mtime is coarse
    const int fd = ::open(path.c_str(), O_WRONLY | O_CLOEXEC);
    ASSERT_EQ(::pwrite(fd, "x", 1, 500), 1);
    ::close(fd);
    EXPECT_THAT(message_of([&] { checkpoint.read("x"); }),
                AllOf(HasSubstr(path), HasSubstr("changed")));
    torch::Tensor destination = torch::zeros({1000}, torch::kDouble);
    EXPECT_THAT(message_of([&] { checkpoint.read("x", destination); }), HasSubstr("changed"));
  }
}

TEST(Checkpoint, CanBeReadByManyThreads) {
  const TemporaryDirectory directory;
  const torch::Tensor value = torch::randn({1000, 100});
  write_safetensors(directory / "a", {{"x", value}});
  const Checkpoint checkpoint = Checkpoint::open(directory / "a");
  std::atomic<int> equal = 0;
  std::vector<std::thread> readers(8);
  for (std::thread& reader : readers) {
    reader = std::thread([&] { equal += same_bits(checkpoint.read("x"), value) ? 1 : 0; });
  }
  for (std::thread& reader : readers) reader.join();
  EXPECT_EQ(equal, 8);
}

// Two shards and their index; each test spoils one thing.
class ShardedCheckpoint : public ::testing::Test {
 protected:
  ShardedCheckpoint() {
    write_safetensors(directory_ / "one.safetensors",
                      {{"a", torch::full({2}, 1.0F)}, {"b", torch::full({2}, 2.0F)}});
    write_safetensors(directory_ / "two.safetensors", {{"c", torch::full({3}, 3.0F)}});
  }
  void index(const std::string& weight_map, const std::string& metadata = R"({"total_size":28})") {
    write_text(directory_ / "model.safetensors.index.json",
               R"({"metadata":)" + metadata + R"(,"weight_map":{)" + weight_map + "}}");
  }
  static constexpr const char* kRight =
      R"("a":"one.safetensors","b":"one.safetensors","c":"two.safetensors")";
  TemporaryDirectory directory_;
};

TEST_F(ShardedCheckpoint, IsOpenedByItsDirectoryOrItsIndex) {
  index(kRight, R"({"total_size":28})");
  for (const std::string& path :
       {directory_.path(), directory_.path() + "/", directory_ / "model.safetensors.index.json"}) {
    const Checkpoint checkpoint = Checkpoint::open(path);
    EXPECT_THAT(checkpoint.tensors(), SizeIs(3));
    EXPECT_THAT(checkpoint.files(), SizeIs(2));
    EXPECT_EQ(checkpoint.read("c").sum().item<float>(), 9.0F);
    EXPECT_THAT(checkpoint.find("c")->file, HasSubstr("two.safetensors"));
  }
}

TEST_F(ShardedCheckpoint, YieldsToTheSingleFileAndSaysSo) {
  index(kRight);
  write_safetensors(directory_ / "model.safetensors", {{"single", torch::ones({1})}});
  const Checkpoint checkpoint = Checkpoint::open(directory_.path());
  ASSERT_THAT(checkpoint.tensors(), SizeIs(1));
  EXPECT_EQ(checkpoint.tensors()[0].name, "single");
  ASSERT_THAT(checkpoint.warnings(), SizeIs(1));
  EXPECT_THAT(checkpoint.warnings()[0], HasSubstr("index.json is not used"));
}

TEST_F(ShardedCheckpoint, OnlyWarnsOfAWrongTotalSize) {
  index(kRight, R"({"total_size":27})");
  EXPECT_THAT(Checkpoint::open(directory_.path()).warnings(),
              ::testing::ElementsAre(AllOf(HasSubstr("27"), HasSubstr("28"))));
}

TEST_F(ShardedCheckpoint, NeedsEveryShard) {
  index(kRight);
  std::filesystem::remove(directory_ / "two.safetensors");
  EXPECT_THAT(error_of(directory_.path()), HasSubstr(directory_ / "two.safetensors"));
}

TEST_F(ShardedCheckpoint, MustHoldExactlyWhatTheIndexSays) {
  index(R"("a":"one.safetensors","b":"one.safetensors")");
  EXPECT_TRUE(Checkpoint::open(directory_.path()).find("c") == nullptr);  // a shard nobody names

  index(R"("a":"one.safetensors","c":"two.safetensors")");
  EXPECT_THAT(error_of(directory_.path()), AllOf(HasSubstr(directory_ / "one.safetensors"),
                                                 HasSubstr("b: is not in the index")));

  index(R"("a":"one.safetensors","b":"two.safetensors","c":"two.safetensors")");
  EXPECT_THAT(error_of(directory_.path()), HasSubstr("b: is in another shard than the index says"));

  index(R"("a":"two.safetensors","b":"two.safetensors","c":"one.safetensors")");
  EXPECT_THAT(error_of(directory_.path()),
              AllOf(HasSubstr("one.safetensors: holds what the index expects in two.safetensors"),
                    HasSubstr("swapped")));

  index(std::string(kRight) + R"(,"d":"two.safetensors")");
  EXPECT_THAT(error_of(directory_.path()),
              AllOf(HasSubstr("two.safetensors"), HasSubstr("d: is not there")));
}

TEST_F(ShardedCheckpoint, MustNotHoldATensorTwice) {
  std::filesystem::remove(directory_ / "two.safetensors");
  write_safetensors(directory_ / "two.safetensors",
                    {{"c", torch::ones({1})}, {"a", torch::ones({2})}});
  index(kRight);
  EXPECT_THAT(error_of(directory_.path()),
              AllOf(HasSubstr("a: is in two shards"), HasSubstr("one.safetensors")));
}

TEST_F(ShardedCheckpoint, StaysInItsDirectory) {
  for (const char* name : {"../one.safetensors", "/etc/passwd", "", ".", "..", "a\\\\b",
                           "model.safetensors.index.json", "sub/one.safetensors"}) {
    index(std::string(R"("a":")") + name + R"(")");
    EXPECT_THAT(error_of(directory_.path()), HasSubstr("index.json")) << name;
  }
}

TEST_F(ShardedCheckpoint, FollowsTheLinksOfTheHubCache) {
  const TemporaryDirectory snapshot;
  index(kRight);
  for (const char* name : {"one.safetensors", "two.safetensors", "model.safetensors.index.json"}) {
    std::filesystem::create_symlink(directory_ / name, snapshot / name);
  }
  EXPECT_THAT(Checkpoint::open(snapshot.path()).tensors(), SizeIs(3));
}

TEST(Checkpoint, SaysWhatAnEmptyDirectoryLacks) {
  const TemporaryDirectory directory;
  EXPECT_THAT(error_of(directory.path()),
              AllOf(HasSubstr(directory.path()), HasSubstr("model.safetensors")));
}

}  // namespace
}  // namespace w2vbert::testing
