// This program links LibTorch's CPU libraries alone, as the w2vbert program does.
#include "w2vbert/core/device.h"

#include <ATen/ATen.h>
#include <ATen/Context.h>
#include <ATen/detail/CUDAHooksInterface.h>
#include <dlfcn.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "w2vbert/core/error.h"

namespace w2vbert::testing {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

std::string message_for(const char* text) {
  try {
    parse_device(text);
  } catch (const UsageError& error) {
    return error.what();
  }
  return "no error";
}

bool is_loaded(const char* library) {
  void* const handle = ::dlopen(library, RTLD_NOW | RTLD_NOLOAD);
  if (handle != nullptr) ::dlclose(handle);
  return handle != nullptr;
}

TEST(ParseDevice, KnowsTheCpuWithoutLoadingCuda) {
  EXPECT_EQ(parse_device("cpu"), c10::Device(c10::kCPU));
  EXPECT_FALSE(is_loaded("libtorch_cuda.so"));
}

TEST(ParseDevice, RefusesOtherWordsWithoutLoadingCuda) {
  for (const char* text : {"", "gpu", "CPU", "cpu:0", "cuda:", "cuda:x", "cuda:-1", "cuda:+1",
                           "cuda: 1", "cuda:1 ", "cuda:0x1", "cuda:99999999999", "cuda0", "mps"}) {
    EXPECT_THAT(message_for(text), HasSubstr("is not known, expected cpu, cuda or cuda:N")) << text;
  }
  EXPECT_FALSE(is_loaded("libtorch_cuda.so"));
}

TEST(ParseDevice, LoadsCudaOrSaysWhyItIsOfNoUse) {
  const std::string problem = load_cuda_backend();
  EXPECT_EQ(load_cuda_backend(), problem);
  if (problem.empty()) {
    EXPECT_EQ(parse_device("cuda"), c10::Device(c10::kCUDA, 0));
    EXPECT_EQ(parse_device("cuda:0"), c10::Device(c10::kCUDA, 0));
    EXPECT_THAT(message_for("cuda:127"), HasSubstr("there is no such device, expected cuda:0"));
    const at::Tensor ones = at::ones({3}, at::TensorOptions().device(parse_device("cuda")));
    EXPECT_EQ(ones.sum().item<float>(), 3.0F);
    return;
  }
  EXPECT_THAT(problem, Not(HasSubstr("\n")));
  EXPECT_THAT(message_for("cuda:1"),
              HasSubstr("device: \"cuda:1\": no usable CUDA device: " + problem));
  // Without a device the library still loads and registers itself, unless this LibTorch is without
  // CUDA.
  if (is_loaded("libtorch_cuda.so")) {
    EXPECT_TRUE(at::CUDAHooksRegistry()->Has("CUDAHooks"));
  } else {
    EXPECT_THAT(problem,
                ::testing::AnyOf(HasSubstr("built without CUDA"), HasSubstr("does not load")));
  }
}

// In a process of its own, because LibTorch remembers the answer for good.
TEST(ParseDeviceDeathTest, SaysThatCudaWasAskedForTooEarly) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  EXPECT_EXIT(
      {
        at::globalContext().hasCUDA();
        const std::string problem = load_cuda_backend();
        fprintf(stderr, "%s\n", problem.c_str());
        ::_exit(0);
      },
      ::testing::ExitedWithCode(0), "asked about CUDA before|built without CUDA");
}

// docs/numerics.md, "Types and devices".
TEST(LibTorch, HasTheSettingsOfTheDocs) {
  const at::Context& context = at::globalContext();
  EXPECT_FALSE(context.allowTF32CuBLAS());
  EXPECT_TRUE(context.allowTF32CuDNN());
  EXPECT_FALSE(context.allowTF32OneDNN());
}

}  // namespace
}  // namespace w2vbert::testing
