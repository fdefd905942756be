// Loading a library of kernels, and what the device engine does without one.
#include "engine/device/kernel_library.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <torch/types.h>

#include <fstream>
#include <string>

#include "core/environment.h"
#include "engine/device/choose_ops.h"
#include "engine/device/kernel_ops.h"
#include "support/temporary_directory.h"

namespace w2vbert::testing {
namespace {

using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

std::string library(const std::string& name) {
  const std::string folder = environment_text("EMULATED_LIBRARIES");
  EXPECT_NE(folder, "");
  return folder + "/lib" + name + ".so";
}

TEST(KernelLibrary, GivesItsKernels) {
  const LoadedKernels kernels = load_kernel_library(library("emulated_kernels"));
  ASSERT_NE(kernels.library, nullptr) << kernels.problem;
  EXPECT_THAT(kernels.problem, IsEmpty());
  EXPECT_THAT(kernels.digest, SizeIs(16));
  char text[100];
  EXPECT_EQ(kernels.library->describe_device(0, text, sizeof text), nullptr);
  EXPECT_STREQ(text, "the emulator");
  const auto rows = torch::randn({5, 16});
  const DeviceLayerNorm norm{torch::randn({16}), torch::randn({16}), 1e-5};
  EXPECT_TRUE(
      torch::allclose(KernelOps(kernels.library->launchers).layer_norm(rows, norm, torch::kFloat),
                      AtenOps().layer_norm(rows, norm, torch::kFloat), 1e-5, 1e-5));
}

TEST(KernelLibrary, SaysWhyThereIsNone) {
  const TemporaryDirectory directory;
  const auto problem_of = [](const std::string& path) {
    const LoadedKernels kernels = load_kernel_library(path);
    EXPECT_EQ(kernels.library, nullptr);
    return kernels.problem;
  };
  EXPECT_THAT(problem_of(directory / "absent.so"), HasSubstr("absent.so"));
  std::ofstream(directory / "text.so") << "no library";
  EXPECT_THAT(problem_of(directory / "text.so"), HasSubstr("does not load: "));
  EXPECT_THAT(problem_of(library("emulated_kernels_of_another_interface")),
              HasSubstr("its interface is 1000, expected "));
  EXPECT_THAT(problem_of(library("emulated_kernels_of_another_version")),
              HasSubstr("is of w2vbert 0.0.1, expected "));
}

TEST(ChooseOps, TakesLibTorchsOperationsWhereThereIsNoGpu) {
  const OpsChoice on_cpu = choose_ops(Wav2Vec2BertConfig(), torch::kCPU, torch::kFloat);
  EXPECT_NE(dynamic_cast<const AtenOps*>(on_cpu.ops.get()), nullptr);
  EXPECT_EQ(on_cpu.text, "in LibTorch's operations");
  EXPECT_FALSE(on_cpu.own_kernels);
}

// What nvcc built on a machine without a GPU: it loads, and each kernel says what is missing.
TEST(KernelLibrary, OfCudaLoadsAndFallsBackWithoutAGpu) {
  const LoadedKernels& kernels = kernel_library();
  if (kernels.problem.find("is not there") != std::string::npos) {
    GTEST_SKIP() << "this build has no CUDA kernels: " << kernels.problem;
  }
  ASSERT_NE(kernels.library, nullptr) << kernels.problem;
  EXPECT_EQ(kernels.library->memory, cuda::KernelMemory::gpu);
  char text[200];
  const char* const problem = kernels.library->describe_device(0, text, sizeof text);
  if (problem == nullptr) GTEST_SKIP() << "there is a GPU: " << text;
  EXPECT_THAT(problem, HasSubstr("CUDA"));
  cuda::Launchers launchers = kernels.library->launchers;
  EXPECT_NE(launchers.current_stream, nullptr);
  launchers.current_stream = nullptr;
  const auto rows = torch::randn({5, 16});
  const DeviceLayerNorm norm{torch::randn({16}), torch::randn({16}), 1e-5};
  EXPECT_TRUE(torch::equal(KernelOps(launchers).layer_norm(rows, norm, torch::kFloat),
                           AtenOps().layer_norm(rows, norm, torch::kFloat)));
}

}  // namespace
}  // namespace w2vbert::testing
