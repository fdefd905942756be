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
            "a.wav: is long, expected a shorter file (--max-seconds)");
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

}  // namespace
}  // namespace w2vbert::tool::testing
