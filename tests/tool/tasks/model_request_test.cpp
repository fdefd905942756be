#include "tool/tasks/model_request.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace w2vbert::tool::testing {
namespace {

const c10::Device kSecond(c10::kCUDA, 1);

EngineChoice on_device(const std::string& steps) {
  return {EngineKind::device, Precision::bfloat16, "", steps};
}

TEST(JointChoice, OfEqualDevicesIsTheirs) {
  const EngineChoice choice =
      joint_choice(on_device("in its own kernels"), on_device("in its own kernels"), kSecond);
  EXPECT_EQ(choice.kind, EngineKind::device);
  EXPECT_EQ(choice.precision, Precision::bfloat16);
  EXPECT_EQ(choice.steps, "in its own kernels");
}

TEST(JointChoice, TellsWhereTheStepsAreOthers) {
  const EngineChoice choice =
      joint_choice(on_device("in its own kernels"), on_device("in LibTorch's operations"), kSecond);
  EXPECT_EQ(choice.kind, EngineKind::device);
  EXPECT_EQ(choice.steps, "in its own kernels; on cuda:1 in LibTorch's operations");
  const EngineChoice three =
      joint_choice(choice, on_device("in its own kernels"), c10::Device(c10::kCUDA, 2));
  EXPECT_EQ(three.steps, choice.steps);
}

TEST(JointChoice, IsTheReferenceWhereOneDeviceWantsIt) {
  const EngineChoice reference = {EngineKind::reference, Precision::bfloat16, "the kernels differ"};
  for (const EngineChoice& choice :
       {joint_choice(on_device("in its own kernels"), reference, kSecond),
        joint_choice(reference, on_device("in its own kernels"), kSecond)}) {
    EXPECT_EQ(choice.kind, EngineKind::reference);
    EXPECT_EQ(choice.reason, "the kernels differ");
    EXPECT_EQ(choice.steps, "");
  }
}

// --- Several batches at once ---

TEST(BatchesAtOnce, AreTwoOfTheDeviceEngine) {
  EXPECT_EQ(batches_at_once(on_device("")), 2);
  EXPECT_EQ(batches_at_once({EngineKind::fused, Precision::float32, ""}), 1);
  EXPECT_EQ(batches_at_once({EngineKind::reference, Precision::float32, ""}), 1);
}

TEST(BatchesAtOnce, HaveAFunctionEach) {
  const std::function<std::vector<int>(const std::vector<EngineClip>&)> function =
      [](const std::vector<EngineClip>& clips) {
        return std::vector<int>{static_cast<int>(clips.size())};
      };
  const auto functions = in_streams(function, 3, c10::Device(c10::kCPU));
  ASSERT_EQ(functions.size(), 3U);
  for (const auto& one : functions) EXPECT_EQ(one({{}, {}}), std::vector<int>{2});
}

TEST(FramesOnDevices, AreNoMoreThanPaysAndNoLessThanFiveSeconds) {
  const SeamlessM4TFeatureExtractorConfig features;
  Wav2Vec2BertConfig config;
  config.hidden_size = 128;
  config.intermediate_size = 256;
  ModelRequest request;
  EXPECT_LE(frames_on_devices(request, config, features, {}), features.frames_of(320));
  config.hidden_size = config.intermediate_size = 1 << 26;  // for which no machine has memory
  EXPECT_EQ(frames_on_devices(request, config, features, {}), features.frames_of(5));
}

}  // namespace
}  // namespace w2vbert::tool::testing
