// The commands on the device engine, which the environment chooses.
#include <ATen/ATen.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "support/engine_cases.h"
#include "support/output_files.h"
#include "support/program.h"
#include "support/small_model.h"
#include "support/temporary_directory.h"
#include "support/write_clip.h"
#include "w2vbert/core/device.h"

namespace w2vbert::tool::testing {
namespace {

using nlohmann::json;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using Words = std::vector<std::string>;

const Conditions kOnDeviceEngine = {.environment = {{"W2VBERT_DEVICE_ENGINE", "1"}}};

class DeviceEngineRuns : public ::testing::Test {
 protected:
  void SetUp() override {
    make_small_model(model_);
    for (int i = 0; i < 5; ++i) {
      clips_.push_back(directory_ / (std::to_string(i) + ".wav"));
      write_clip(clips_.back(), 8000 + 5003 * i, i);
    }
  }
  Words words(const std::string& command, const Words& more) const {
    Words all = {command, "--model", model_, "--threads", "1", "--json"};
    all.insert(all.end(), more.begin(), more.end());
    return all;
  }
  static json report_of(const Result& result) {
    EXPECT_EQ(result.status, 0) << result.err;
    return json::parse(result.out);
  }

  TemporaryDirectory directory_;
  std::string model_ = directory_ / "model";
  Words clips_;
};

TEST_F(DeviceEngineRuns, ExtractGivesTheStatesOfTheReference) {
  const auto extract = [&](const std::string& output, const Conditions& conditions,
                           const Words& more) {
    Words all = words("extract", {"--output", directory_ / output, "--states", "0,2,3"});
    all.insert(all.end(), clips_.begin(), clips_.end());
    all.insert(all.end(), more.begin(), more.end());
    return run_program(all, conditions);
  };
  const json reference = report_of(extract("reference", {}, {"--engine", "reference"}));
  const Result result = extract("device", kOnDeviceEngine, {});
  EXPECT_EQ(report_of(result)["engine"], "device");
  EXPECT_THAT(result.err, HasSubstr("no GPU had run it when this version was made"));
  EXPECT_EQ(reference["engine"], "reference");
  for (int i = 0; i < 5; ++i) {
    const std::string name = std::to_string(i) + ".safetensors";
    const auto expected = tensors_of(directory_ / ("reference/" + name));
    const auto got = tensors_of(directory_ / ("device/" + name));
    ASSERT_EQ(got.size(), expected.size());
    for (const auto& [key, tensor] : expected) {
      EXPECT_LT(w2vbert::testing::difference(got.at(key).to(at::kFloat), tensor.to(at::kFloat)),
                w2vbert::testing::kTolerance)
          << name << ", " << key;
    }
  }
  // Another engine's outputs are not this one's.
  const Result other = extract("device", {}, {});
  EXPECT_EQ(other.status, 2);
  EXPECT_THAT(other.errors(), ElementsAre(HasSubstr("engine")));
}

#ifdef EMULATED_KERNELS
// The kernels, as the emulator runs them, through the program: checked at first use, remembered,
// and left where one differs.
TEST_F(DeviceEngineRuns, ChecksItsKernelsAndLeavesThemWhereOneDiffers) {
  constexpr const char* kReversedKernel = "4";  // emulator::Bug::conv_kernel_reversed
  const auto extract = [&](const std::string& output, const std::string& cache,
                           const std::string& bug) {
    Conditions conditions = kOnDeviceEngine;
    conditions.environment["W2VBERT_CUDA_LIBRARY"] = EMULATED_KERNELS;
    conditions.environment["XDG_CACHE_HOME"] = directory_ / cache;
    conditions.environment["EMULATED_BUG"] = bug;
    Words all = words("extract", {"--output", directory_ / output, "--states", "3"});
    all.insert(all.end(), clips_.begin(), clips_.end());
    const Result result = run_program(all, conditions);
    EXPECT_EQ(report_of(result)["engine"], "device");
    return result.err;
  };
  const auto records = [&](const std::string& cache) {
    std::vector<std::string> paths;
    for (const auto& entry :
         std::filesystem::directory_iterator(directory_ / (cache + "/w2vbert/kernels"))) {
      paths.push_back(entry.path());
    }
    return paths;
  };
  EXPECT_THAT(extract("right", "right-cache", "0"),
              HasSubstr("the device engine runs in its own kernels, checked on the emulator"));
  EXPECT_EQ(records("right-cache").size(), 1U);
  const std::string differs =
      "differ from them on the emulator, please report this line: gated_conv";
  EXPECT_THAT(extract("wrong", "wrong-cache", kReversedKernel), HasSubstr(differs));
  // Remembered, with the fault that is not there any more.
  EXPECT_THAT(extract("again", "wrong-cache", "0"), HasSubstr(differs));
  EXPECT_EQ(records("wrong-cache").size(), 1U);
  const Result reference = run_program([&] {
    Words all = words("extract", {"--output", directory_ / "reference", "--states", "3", "--engine",
                                  "reference"});
    all.insert(all.end(), clips_.begin(), clips_.end());
    return all;
  }());
  EXPECT_EQ(reference.status, 0) << reference.err;
  for (int i = 0; i < 5; ++i) {
    const std::string name = std::to_string(i) + ".safetensors";
    for (const auto& [key, tensor] : tensors_of(directory_ / ("reference/" + name))) {
      for (const char* output : {"right", "wrong", "again"}) {
        const auto got = tensors_of(directory_ / (std::string(output) + "/" + name));
        EXPECT_LT(w2vbert::testing::difference(got.at(key).to(at::kFloat), tensor.to(at::kFloat)),
                  w2vbert::testing::kTolerance)
            << output << ", " << name;
      }
    }
  }
}
#endif

TEST_F(DeviceEngineRuns, EveryCommandTakesIt) {
  const std::string features = directory_ / "features";
  ASSERT_EQ(
      run_program({"features", clips_.back(), "--model", model_, "--output", features}).status, 0);
  const Words forward = words("forward", {"--input", features + "/4.safetensors", "--output",
                                          directory_ / "forward.safetensors"});
  EXPECT_EQ(report_of(run_program(forward, kOnDeviceEngine))["engine"], "device");
  const Words bench = words("bench", {"--frames", "50,20", "--rounds", "1"});
  EXPECT_EQ(report_of(run_program(bench, kOnDeviceEngine))["engine"], "device");
  Words typed = bench;
  typed.insert(typed.end(), {"--dtype", "bfloat16"});
  EXPECT_EQ(report_of(run_program(typed, kOnDeviceEngine))["engine"], "device");
  EXPECT_EQ(report_of(run_program(bench))["engine"], "fused");
}

TEST_F(DeviceEngineRuns, SeveralDevicesGiveTheBytesOfOne) {
  const auto extract = [&](const std::string& output, const Words& more) {
    Words all = words("extract", {"--output", directory_ / output, "--states", "1,3"});
    all.insert(all.end(), clips_.begin(), clips_.end());
    all.insert(all.end(), more.begin(), more.end());
    return report_of(run_program(all));
  };
  extract("one", {"--device", "cpu"});
  for (const char* devices : {"cpu", "cpu,cpu", "cpu,cpu,cpu"}) {
    const std::string output = std::string("several-") + devices;
    // A clip a batch, so that each device gets some.
    EXPECT_EQ(extract(output, {"--devices", devices, "--batch-seconds", "0.1"})["done"], 5);
    for (int i = 0; i < 5; ++i) {
      const std::string name = std::to_string(i) + ".safetensors";
      EXPECT_EQ(content_of(directory_ / (output + "/" + name)),
                content_of(directory_ / ("one/" + name)))
          << devices << ", " << name;
    }
  }
}

TEST_F(DeviceEngineRuns, ExtractRunsSeveralOfThem) {
  for (const char* devices : {"cpu", "cpu,cpu"}) {
    Words all = words("extract", {"--output", directory_ / devices, "--states", "3", "--devices",
                                  devices, "--batch-seconds", "0.1"});
    all.insert(all.end(), clips_.begin(), clips_.end());
    const json report = report_of(run_program(all, kOnDeviceEngine));
    EXPECT_EQ(report["engine"], "device");
    EXPECT_EQ(report["done"], 5);
  }
  for (int i = 0; i < 5; ++i) {
    const std::string name = "/" + std::to_string(i) + ".safetensors";
    const auto expected = tensors_of(directory_ / ("cpu" + name));
    const auto got = tensors_of(directory_ / ("cpu,cpu" + name));
    EXPECT_LT(
        w2vbert::testing::difference(got.at("hidden_states.3"), expected.at("hidden_states.3")),
        w2vbert::testing::kTolerance);
  }
}

TEST_F(DeviceEngineRuns, NamesWhatIsWrongWithTheDevices) {
  const auto error_of = [&](const Words& more) {
    Words all = words("extract", {"--output", directory_ / "out", clips_.front()});
    all.insert(all.end(), more.begin(), more.end());
    const Result result = run_program(all);
    EXPECT_EQ(result.status, 2);
    EXPECT_FALSE(std::filesystem::exists(directory_ / "out"));
    return result.errors().size() == 1 ? result.errors().front() : result.err;
  };
  EXPECT_THAT(error_of({"--devices", "cpu,cpu", "--device", "cpu"}),
              HasSubstr("--devices: is given beside --device"));
  EXPECT_THAT(error_of({"--devices", "gpu"}), HasSubstr("\"gpu\": is not known"));
  EXPECT_THAT(error_of({"--devices", "cpu,"}), HasSubstr("is not known"));
  if (load_cuda_backend().empty()) GTEST_SKIP() << "a GPU is here";
  EXPECT_THAT(error_of({"--devices", "all"}), HasSubstr("no usable CUDA device"));
  EXPECT_THAT(error_of({"--devices", "cpu,cuda:0"}), HasSubstr("no usable CUDA device"));
}

TEST_F(DeviceEngineRuns, RefusesInt8AndSaysWhy) {
  const Result result = run_program(
      {"bench", "--model", model_, "--frames", "50", "--dtype", "int8"}, kOnDeviceEngine);
  EXPECT_EQ(result.status, 2);
  EXPECT_THAT(result.errors(), ElementsAre(HasSubstr("the device engine has no int8")));
}

TEST_F(DeviceEngineRuns, DoctorSaysWhatNoGpuHasRun) {
  EXPECT_THAT(run_program({"doctor"}).out,
              HasSubstr("no GPU had run it when this version was made"));
  EXPECT_THAT(run_program({"doctor"}, kOnDeviceEngine).out,
              HasSubstr("chosen by W2VBERT_DEVICE_ENGINE=1"));
}

}  // namespace
}  // namespace w2vbert::tool::testing
