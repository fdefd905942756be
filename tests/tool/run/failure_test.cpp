#include "tool/run/failure.h"

#include <gtest/gtest.h>

#include <string>

#include "w2vbert/core/error.h"

namespace w2vbert::tool::testing {
namespace {

TEST(MessageOf, IsTheErrorsOwnWithoutASetting) {
  EXPECT_EQ(message_of(UsageError("in", "labels", "is missing", "floats")),
            "in: labels: is missing, expected floats");
}

TEST(MessageOf, NamesTheOptionOfASettingBehindTheWords) {
  EXPECT_EQ(message_of(AudioError("a.wav", "", "is long", "a shorter file", "max_seconds")),
            "a.wav: is long, expected a shorter file (--max-audio-seconds)");
  EXPECT_EQ(message_of(StorageError("a", "clip", "is damaged", "a run that verifies", "verify")),
            "a: clip: is damaged, expected a run that verifies (--verify)");
}

TEST(MessageOf, NamesTheValueThatASettingWouldNeed) {
  EXPECT_EQ(message_of(CheckpointError("m", "", "fits not", "", "prefix semantic_model.")),
            "m: fits not (--prefix semantic_model.)");
  EXPECT_EQ(message_of(CheckpointError("m", "", "fits not", "", "lora_prefix a\nb")),
            "m: fits not (--lora-prefix a\\x0ab)");
}

TEST(MessageOf, NamesTheOptionInThePlaceOfTheSetting) {
  EXPECT_EQ(message_of(UsageError("", "states", "states is no number", "numbers", "states")),
            "--states: states is no number, expected numbers");
  EXPECT_EQ(message_of(UsageError("a/b", "shard_size", "is large", "", "shard_size")),
            "a/b: --shard-size: is large");
  // A path is shown without control bytes, and may hold the setting's name.
  EXPECT_EQ(message_of(UsageError("a\n: states", "states", "is \"x\"", "", "states")),
            "a\\x0a: states: --states: is \"x\"");
}

TEST(MessageOf, KnowsSettingsWhoseOptionHasAnotherName) {
  EXPECT_EQ(message_of(UsageError("", "precision", "int8 is too coarse", "", "precision")),
            "--dtype: int8 is too coarse");
  EXPECT_EQ(message_of(UsageError("", "", "int8 is too coarse", "", "precision")),
            "int8 is too coarse (--dtype)");
  EXPECT_EQ(message_of(UsageError("", "", "int8 is too coarse", "", "dtype")),
            "int8 is too coarse (--dtype)");
}

TEST(Describe, NamesTheInputBeforeAnErrorThatHasNoPath) {
  const auto of = [](const auto& error) {
    return describe(std::make_exception_ptr(error), "clips/a.wav");
  };
  const Description range = of(RangeError("", "last_hidden_state", "holds 1e5", "less", "dtype"));
  EXPECT_EQ(range.kind, "range");
  EXPECT_EQ(range.message, "clips/a.wav: last_hidden_state: holds 1e5, expected less (--dtype)");
  const Description usage = of(UsageError("", "pool", "9 frames", "at most 4", "pool"));
  EXPECT_EQ(usage.kind, "model");
  EXPECT_EQ(usage.message, "clips/a.wav: --pool: 9 frames, expected at most 4");
  EXPECT_EQ(of(UsageError("b", "key", "is bad")).message, "b: key: is bad");
}

}  // namespace
}  // namespace w2vbert::tool::testing
