// The check of the kernels at first use: it finds each planted fault, and remembers what it found.
#include "engine/device/kernel_check.h"

#include <ATen/CPUGeneratorImpl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <torch/types.h>
#include <torch/utils.h>

#include <cstdlib>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

#include "engine/cuda/emulator/emulator.h"
#include "engine/device/choose_ops.h"
#include "engine/device/device_cases.h"
#include "engine/device/kernel_ops.h"
#include "support/temporary_directory.h"

namespace w2vbert::testing {
namespace {

using emulator::Bug;
using ::testing::Each;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;
using ::testing::StartsWith;

cuda::Launchers emulated() {
  return {cuda::launch_gated_conv, cuda::launch_relative_attention, cuda::launch_add_norm,
          cuda::launch_bias_swish};
}

KernelSizes small_sizes(c10::ScalarType dtype = torch::kFloat) {
  Wav2Vec2BertConfig config = small_engine_config();
  config.hidden_size = 64;
  config.add_adapter = true;
  return kernel_sizes(config, dtype);
}

TEST(KernelCheck, FindsNothingWrongWithTheKernels) {
  for (const auto dtype : {torch::kFloat, torch::kBFloat16, torch::kHalf}) {
    for (unsigned seed = 0; seed < 12; ++seed) {
      std::mt19937 random(seed);
      Wav2Vec2BertConfig config = random_device_config(random);
      config.num_attention_heads = 1 + static_cast<std::int64_t>(random() % 3);
      config.hidden_size = config.num_attention_heads * (seed % 3 == 0 ? 64 : 24);
      config.feature_projection_input_dim = 160;
      config.intermediate_size = 64;
      const KernelSizes sizes = kernel_sizes(config, dtype);
      EXPECT_THAT(check_kernels(KernelOps(emulated()), sizes, torch::kCPU), IsEmpty())
          << sizes.text();
    }
  }
}

// Sizes and activations that no kernel takes run in LibTorch's operations, which agree.
TEST(KernelCheck, PassesWhatFallsBack) {
  for (const char* act : {"gelu", "prelu"}) {
    KernelSizes sizes = small_sizes(torch::kBFloat16);
    sizes.act = act;
    sizes.heads = 1;
    sizes.channels = 36;
    sizes.adapter_width = 0;
    EXPECT_THAT(check_kernels(KernelOps(emulated()), sizes, torch::kCPU), IsEmpty()) << act;
    EXPECT_THAT(check_kernels(KernelOps({}), sizes, torch::kCPU), IsEmpty()) << act;
  }
}

struct Planted {
  Bug bug;
  const char* step;  // in which it has to be found
};

std::string number_of(const Planted& planted) {
  return std::to_string(static_cast<int>(planted.bug));
}
void PrintTo(const Planted& planted, std::ostream* stream) { *stream << number_of(planted); }

class KernelCheckOf : public ::testing::TestWithParam<Planted> {
 protected:
  ~KernelCheckOf() override { emulator::planted_bug = Bug::nothing; }
};

TEST_P(KernelCheckOf, FindsAFault) {
  const auto& [bug, step] = GetParam();
  emulator::planted_bug = bug;
  for (const auto dtype : {torch::kFloat, torch::kBFloat16, torch::kHalf}) {
    const auto differences = check_kernels(KernelOps(emulated()), small_sizes(dtype), torch::kCPU);
    EXPECT_FALSE(differences.empty()) << dtype;
    EXPECT_THAT(differences, Each(HasSubstr(step))) << dtype;
  }
  (void)emulator::take_findings();
}

INSTANTIATE_TEST_SUITE_P(
    Planted, KernelCheckOf,
    ::testing::Values(Planted{Bug::conv_gate_halves_swapped, "gated_conv"},
                      Planted{Bug::conv_kernel_reversed, "gated_conv"},
                      Planted{Bug::conv_reads_the_clip_before, "gated_conv"},
                      Planted{Bug::conv_without_swish, "gated_conv"},
                      Planted{Bug::norm_residual_not_written, "the sum of add_layer_norm"},
                      Planted{Bug::norm_of_the_residual_alone, "add_layer_norm"},
                      Planted{Bug::swish_without_bias, "activated_linear"}),
    [](const auto& of) { return "Bug" + number_of(of.param); });

// Faults of the kernel for narrow types.
class KernelCheckOfAttention : public ::testing::TestWithParam<Planted> {
 protected:
  ~KernelCheckOfAttention() override { emulator::planted_bug = Bug::nothing; }
};

TEST_P(KernelCheckOfAttention, FindsAFault) {
  emulator::planted_bug = GetParam().bug;
  const auto differences =
      check_kernels(KernelOps(emulated()), small_sizes(torch::kBFloat16), torch::kCPU);
  EXPECT_FALSE(differences.empty());
  EXPECT_THAT(differences, Each(StartsWith(GetParam().step)));
  (void)emulator::take_findings();
}

INSTANTIATE_TEST_SUITE_P(
    Planted, KernelCheckOfAttention,
    ::testing::Values(Planted{Bug::attention_misses_rescale, "attention"},
                      Planted{Bug::attention_misses_last_keys, "attention"},
                      Planted{Bug::attention_forgets_the_mask, "attention"},
                      Planted{Bug::attention_clamps_one_side_only, "attention with positions"},
                      Planted{Bug::attention_distance_mirrored, "attention with positions"},
                      Planted{Bug::attention_tail_of_the_wrong_side, "attention with positions"},
                      Planted{Bug::attention_keys_of_the_next_clip, "attention"}),
    [](const auto& of) { return "Bug" + number_of(of.param); });

TEST(KernelCheck, FindsNanAndAnotherType) {
  class Broken : public AtenOps {
   public:
    at::Tensor layer_norm(const at::Tensor& rows, const DeviceLayerNorm& norm,
                          c10::ScalarType dtype) const override {
      at::Tensor normal = AtenOps::layer_norm(rows, norm, dtype);
      if (rows.size(1) == 160) return normal.to(torch::kDouble);
      normal[0][0] = NAN;
      return normal;
    }
  };
  const auto differences = check_kernels(Broken(), small_sizes(), torch::kCPU);
  EXPECT_THAT(differences, ::testing::Contains("layer_norm: another shape or type"));
  EXPECT_THAT(differences, ::testing::Contains(HasSubstr("nan of all")));
}

TEST(KernelCheck, FindsOneWrongElement) {
  class Broken : public AtenOps {
   public:
    at::Tensor layer_norm(const at::Tensor& rows, const DeviceLayerNorm& norm,
                          c10::ScalarType dtype) const override {
      at::Tensor normal = AtenOps::layer_norm(rows, norm, dtype);
      normal[1][2] += 0.1;
      return normal;
    }
  };
  EXPECT_THAT(check_kernels(Broken(), small_sizes(torch::kBFloat16), torch::kCPU),
              ::testing::Contains(StartsWith("layer_norm in BFloat16: differs by ")));
}

TEST(KernelCheck, DrawsNothingFromTheUsersGenerator) {
  torch::manual_seed(3);
  const auto expected = torch::randn({4});
  torch::manual_seed(3);
  (void)check_kernels(KernelOps(emulated()), small_sizes(), torch::kCPU);
  EXPECT_TRUE(torch::equal(torch::randn({4}), expected));
}

std::string contents(const std::string& path) {
  std::ifstream file(path);
  return {std::istreambuf_iterator<char>(file), {}};
}

TEST(KernelRecord, RemembersWhatACheckSaid) {
  const TemporaryDirectory directory;
  const std::string folder = directory / "new/kernels";
  const KernelRecord record("device: one\n", folder), other("device: two\n", folder);
  EXPECT_FALSE(record.read());
  record.write({});
  EXPECT_EQ(record.read(), std::vector<std::string>());
  EXPECT_FALSE(other.read());
  const std::vector<std::string> differences = {"one step", "another"};
  record.write(differences);
  EXPECT_EQ(record.read(), differences);
  const KernelRecord nowhere("device: one\n", "");
  nowhere.write({});
  EXPECT_FALSE(nowhere.read());
}

TEST(KernelRecord, IgnoresADamagedOne) {
  const TemporaryDirectory directory;
  const KernelRecord record("device: one\n", directory.path());
  record.write({"one step"});
  const std::string whole = contents(record.path());
  std::vector<std::string> damaged = {"", whole + "more\n", "x" + whole};
  for (std::size_t size = 0; size < whole.size(); size += 7)
    damaged.push_back(whole.substr(0, size));
  for (std::size_t i = 0; i < whole.size(); ++i) {
    // A difference is a text: a flipped byte in it is another difference, still one.
    if (i >= whole.find("one step") && i < whole.find("\nend")) continue;
    std::string flipped = whole;
    flipped[i] = static_cast<char>(flipped[i] ^ 1);
    damaged.push_back(flipped);
  }
  for (const std::string& text : damaged) {
    std::ofstream(record.path(), std::ios::trunc) << text;
    EXPECT_FALSE(record.read()) << text;
  }
  // Another device's, under this one's name.
  KernelRecord("device: two\n", directory.path()).write({});
  std::filesystem::rename(KernelRecord("device: two\n", directory.path()).path(), record.path());
  EXPECT_FALSE(record.read());
  record.write({});
  EXPECT_TRUE(record.read());
}

// A library whose kernels are the emulator's, with a count of what it launches.
int launches = 0;
LoadedKernels library() {
  static const cuda::KernelLibrary table = [] {
    cuda::KernelLibrary of;
    of.memory = cuda::KernelMemory::cpu;
    of.version = "0";
    of.launchers = emulated();
    of.launchers.add_norm = [](const cuda::AddNorm& arguments, cuda::Element element, void* on) {
      ++launches;
      return cuda::launch_add_norm(arguments, element, on);
    };
    of.describe_device = [](std::int32_t, char* text, std::size_t size) -> const char* {
      std::snprintf(text, size, "a device");
      return nullptr;
    };
    return of;
  }();
  return {&table, "libof.so", "digest", ""};
}

TEST(ChooseOps, ChecksOnceAndTakesWhatAgrees) {
  const TemporaryDirectory directory;
  const auto choose = [&](const LoadedKernels& kernels) {
    launches = 0;
    return choose_ops(kernels, small_sizes(), torch::kCPU, directory.path());
  };
  const OpsChoice first = choose(library());
  EXPECT_TRUE(first.own_kernels);
  EXPECT_EQ(first.text, "in its own kernels, checked on a device");
  EXPECT_GT(launches, 0);
  EXPECT_TRUE(choose(library()).own_kernels);
  EXPECT_EQ(launches, 0);  // remembered
  LoadedKernels rebuilt = library();
  rebuilt.digest = "another";
  EXPECT_TRUE(choose(rebuilt).own_kernels);
  EXPECT_GT(launches, 0);
}

TEST(ChooseOps, TakesLibTorchsOperationsForAllStepsWhereOneKernelDiffers) {
  const TemporaryDirectory directory;
  emulator::planted_bug = Bug::conv_kernel_reversed;
  for (const bool remembered : {false, true}) {
    launches = 0;
    const OpsChoice choice = choose_ops(library(), small_sizes(), torch::kCPU, directory.path());
    EXPECT_FALSE(choice.own_kernels);
    EXPECT_NE(dynamic_cast<const AtenOps*>(choice.ops.get()), nullptr);
    EXPECT_THAT(choice.text,
                StartsWith("in LibTorch's operations: its own kernels (digest) differ from them on "
                           "a device, please report this line: gated_conv in Float: differs by "));
    EXPECT_EQ(launches > 0, !remembered);
    emulator::planted_bug = Bug::nothing;
  }
}

// As on a GPU that the library was not built for: what falls back agrees with itself.
TEST(ChooseOps, TakesLibTorchsOperationsWhereNoKernelIsLaunched) {
  const TemporaryDirectory directory;
  static cuda::KernelLibrary table = *library().library;
  LoadedKernels kernels = library();
  kernels.library = &table;
  static constexpr const char* kReason = "no kernel image is available";
  table.launchers.add_norm = [](const auto&, auto, void*) { return kReason; };
  table.launchers.gated_conv = [](const auto&, auto, void*) { return kReason; };
  table.launchers.bias_swish = [](const auto&, auto, void*) { return kReason; };
  table.launchers.relative_attention = [](const auto&, auto, void*) { return kReason; };
  const OpsChoice choice = choose_ops(kernels, small_sizes(), torch::kCPU, directory.path());
  EXPECT_FALSE(choice.own_kernels);
  EXPECT_EQ(choice.text,
            "in LibTorch's operations: none of its own kernels runs on a device: no kernel image "
            "is available");
  EXPECT_TRUE(choose_ops(library(), small_sizes(), torch::kCPU, directory.path()).own_kernels);
}

// A kernel that faults takes the process with it.
TEST(ChooseOps, DoesNotRepeatACheckThatEndedTheProcess) {
  const TemporaryDirectory directory;
  static cuda::KernelLibrary table = *library().library;
  LoadedKernels kernels = library();
  kernels.library = &table;
  table.launchers.bias_swish = [](const cuda::BiasSwish&, cuda::Element, void*) -> const char* {
    throw c10::AcceleratorError({"bias_swish", __FILE__, 1}, 700, "an illegal memory access");
  };
  EXPECT_THROW(choose_ops(kernels, small_sizes(), torch::kCPU, directory.path()),
               c10::AcceleratorError);
  launches = 0;
  const OpsChoice next = choose_ops(library(), small_sizes(), torch::kCPU, directory.path());
  EXPECT_EQ(launches, 0);
  EXPECT_FALSE(next.own_kernels);
  EXPECT_THAT(next.text, AllOf(HasSubstr("the check did not end"), HasSubstr(directory.path())));
}

TEST(ChooseOps, TakesLibTorchsOperationsWhereTheCheckFails) {
  const TemporaryDirectory directory;
  static cuda::KernelLibrary table = *library().library;
  LoadedKernels kernels = library();
  kernels.library = &table;
  table.launchers.bias_swish = [](const cuda::BiasSwish&, cuda::Element, void*) -> const char* {
    TORCH_CHECK(false, "an illegal memory access\nand more");
  };
  const OpsChoice failed = choose_ops(kernels, small_sizes(), torch::kCPU, directory.path());
  EXPECT_FALSE(failed.own_kernels);
  EXPECT_THAT(failed.text,
              HasSubstr("the check of its own kernels on a device failed: an illegal"));
  EXPECT_THAT(failed.text, ::testing::Not(HasSubstr("\n")));
  // Not remembered.
  EXPECT_TRUE(choose_ops(library(), small_sizes(), torch::kCPU, directory.path()).own_kernels);

  table.describe_device = [](std::int32_t, char*, std::size_t) -> const char* {
    return "no driver";
  };
  EXPECT_THAT(choose_ops(kernels, small_sizes(), torch::kCPU, "").text, HasSubstr("no driver"));
  table.memory = cuda::KernelMemory::gpu;
  EXPECT_THAT(choose_ops(kernels, small_sizes(), torch::kCPU, "").text, HasSubstr("is for GPUs"));
}

}  // namespace
}  // namespace w2vbert::testing
