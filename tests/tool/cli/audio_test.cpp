// What the commands do with several channels, with damage, and with long files.
#include <ATen/ATen.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

#include "support/output_files.h"
#include "support/program.h"
#include "support/small_model.h"
#include "support/temporary_directory.h"
#include "support/write_clip.h"

namespace w2vbert::tool::testing {
namespace {

namespace fs = std::filesystem;
using ::testing::AllOf;
using ::testing::AnyOf;
using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::IsSupersetOf;
using ::testing::Not;

using Words = std::vector<std::string>;

int count_of(const std::string& text, const std::string& part) {
  int count = 0;
  for (auto at = text.find(part); at != std::string::npos; at = text.find(part, at + 1)) ++count;
  return count;
}

class Audio : public ::testing::Test {
 protected:
  void SetUp() override {
    write_clip(stereo_, 16000, 1, 16000, 2);
    write_clip(mono_, 12000, 2);
  }
  // One channel of a file of 16-bit samples behind 44 bytes of header.
  std::string channel_of(const std::string& path, std::size_t channel) const {
    const std::string bytes = content_of(path);
    const auto channels = static_cast<std::size_t>(static_cast<unsigned char>(bytes[22]));
    std::string data;
    for (std::size_t at = 44 + 2 * channel; at < bytes.size(); at += 2 * channels) {
      data += bytes.substr(at, 2);
    }
    const std::string out = scratch_ / ("channel-" + std::to_string(channel) + ".wav");
    write_clip(out, static_cast<int>(data.size() / 2));
    const std::string header = content_of(out).substr(0, 44);
    std::ofstream(out, std::ios::binary) << header << data;
    return out;
  }
  Result features(const Words& inputs, const std::string& out, const Words& more = {}) const {
    Words words = {"features", "--output", scratch_ / out};
    words.insert(words.end(), inputs.begin(), inputs.end());
    words.insert(words.end(), more.begin(), more.end());
    return run_program(words);
  }
  at::Tensor rows(const std::string& out, const std::string& name) const {
    return tensors_of(scratch_ / (out + "/" + name + ".safetensors")).at("input_features");
  }
  // Two thirds of a file.
  std::string cut(const std::string& path, const std::string& name) const {
    const std::string bytes = content_of(path);
    std::ofstream(scratch_ / name, std::ios::binary) << bytes.substr(0, bytes.size() * 2 / 3);
    return scratch_ / name;
  }

  TemporaryDirectory scratch_;
  std::string stereo_ = scratch_ / "clips/stereo.wav";
  std::string mono_ = scratch_ / "clips/mono.wav";
};

TEST_F(Audio, AnyChannelCanBeChosen) {
  const std::string left = channel_of(stereo_, 0), right = channel_of(stereo_, 1);
  ASSERT_EQ(features({left, right}, "apart").status, 0);
  for (const auto& [word, expected] : {std::pair{"first", "channel-0"},
                                       {"1", "channel-0"},
                                       {"second", "channel-1"},
                                       {"2", "channel-1"}}) {
    const std::string out = std::string("out-") + word;
    ASSERT_EQ(features({stereo_}, out, {"--channels", word}).status, 0);
    EXPECT_TRUE(rows(out, "stereo").equal(rows("apart", expected))) << word;
  }
  ASSERT_EQ(features({stereo_}, "mean", {"--channels", "mean"}).status, 0);
  ASSERT_EQ(features({stereo_}, "mix", {"--channels", "mix"}).status, 0);
  EXPECT_TRUE(rows("mean", "stereo").equal(rows("mix", "stereo")));
  EXPECT_FALSE(rows("mean", "stereo").equal(rows("apart", "channel-0")));
  // One name of a channel does for the other: both are one run.
  EXPECT_THAT(features({stereo_}, "out-1", {"--channels", "first"}).err,
              HasSubstr("1 finished before"));
  EXPECT_EQ(features({stereo_}, "out-1", {"--channels", "2"}).status, 2);
  for (const char* word : {"0", "65", "-1", "02", "+2", " 2", "", "left", "2,1", "firstt"}) {
    const Result result = features({stereo_}, "refused", {"--channels", word});
    EXPECT_EQ(result.status, 2) << word;
    EXPECT_THAT(result.errors(), ElementsAre(HasSubstr("--channels"))) << word;
  }
}

TEST_F(Audio, AChannelThatAFileDoesNotHaveIsThatFilesFailure) {
  const Result result = features({stereo_, mono_}, "out", {"--channels", "2"});
  EXPECT_EQ(result.status, 3);
  EXPECT_THAT(result.errors(), ElementsAre(AllOf(HasSubstr("mono.wav: has 1 channel, expected at "
                                                           "least 2"),
                                                 HasSubstr("--channels"))));
  EXPECT_THAT(files_in(scratch_ / "out"), Contains("stereo.safetensors"));
}

TEST_F(Audio, EachChannelCanBeAClipOfItsOwn) {
  const std::string right = channel_of(stereo_, 1);
  ASSERT_EQ(features({right, mono_}, "apart").status, 0);
  const Words each = {"--channels", "each"};
  const Result result = features({stereo_, mono_}, "out", each);
  ASSERT_EQ(result.status, 0) << result.err;
  EXPECT_THAT(
      files_in(scratch_ / "out"),
      IsSupersetOf({"stereo-ch1.safetensors", "stereo-ch2.safetensors", "mono-ch1.safetensors"}));
  EXPECT_TRUE(rows("out", "stereo-ch2").equal(rows("apart", "channel-1")));
  EXPECT_TRUE(rows("out", "mono-ch1").equal(rows("apart", "clips/mono")));
  EXPECT_THAT(result.err, HasSubstr("2 clips of files with 2 channels: each is a clip of its own"));
  EXPECT_THAT(features({stereo_, mono_}, "out", each).err, HasSubstr("3 finished before"));
  // With parts of files, and with files that cannot be read.
  const std::string list = scratch_ / "list.jsonl";
  std::ofstream(list)
      << "{\"audio_filepath\": \"" << stereo_
      << "\", \"offset\": 0.25, \"duration\": 0.5}\n{\"audio_filepath\": \"gone.wav\"}\n";
  const Result parts = features({"--manifest", list}, "parts", each);
  EXPECT_EQ(parts.status, 3);
  EXPECT_THAT(parts.errors(), ElementsAre(HasSubstr("gone.wav")));
  int outputs = 0;
  for (const std::string& name : files_in(scratch_ / "parts")) {
    outputs += name.ends_with("-0000250-0000750-ch1.safetensors") ||
               name.ends_with("-0000250-0000750-ch2.safetensors");
  }
  EXPECT_EQ(outputs, 2);
  // A damaged file fails once, or is salvaged channel by channel.
  const std::string damaged = cut(stereo_, "cut.wav");
  const Result refused = features({damaged}, "refused", each);
  EXPECT_EQ(refused.status, 3);
  EXPECT_THAT(refused.errors(), ElementsAre(HasSubstr("cut.wav: is truncated")));
  const Result taken = features({damaged}, "taken", {"--channels", "each", "--salvage"});
  EXPECT_EQ(taken.status, 0) << taken.err;
  EXPECT_THAT(files_in(scratch_ / "taken"),
              IsSupersetOf({"cut-ch1.safetensors", "cut-ch2.safetensors"}));
}

TEST_F(Audio, WhatIsMadeOfSeveralChannelsIsSaidOnce) {
  const std::string five = scratch_ / "five.wav";
  write_clip(five, 16000, 3, 16000, 5);
  const Result first = features({stereo_, mono_, five}, "first");
  EXPECT_THAT(first.err, HasSubstr("2 clips of files with 2 to 5 channels: the first is used"));
  EXPECT_EQ(count_of(first.err, "channels:"), 1);
  EXPECT_THAT(features({stereo_}, "mean", {"--channels", "mean"}).err,
              HasSubstr("1 clip of files with 2 channels: their mean is used"));
  EXPECT_THAT(features({stereo_}, "second", {"--channels", "second"}).err,
              HasSubstr("channel 2 is used"));
  EXPECT_THAT(features({mono_}, "mono").err, Not(HasSubstr("channel")));
  EXPECT_THAT(features({stereo_}, "quiet", {"--quiet"}).err, IsEmpty());
}

TEST_F(Audio, DamageIsRefusedOrSalvagedAndTold) {
  const std::string damaged = cut(mono_, "cut.wav");
  const Result refused = features({damaged, stereo_}, "refused");
  EXPECT_EQ(refused.status, 3);
  EXPECT_THAT(refused.errors(), ElementsAre(HasSubstr("cut.wav: is truncated")));
  const Result taken = features({damaged, stereo_}, "taken", {"--salvage"});
  EXPECT_EQ(taken.status, 0);
  EXPECT_THAT(taken.errors(), IsEmpty());
  EXPECT_THAT(taken.err, AllOf(HasSubstr("cut.wav: is truncated"), HasSubstr("seconds are read, "),
                               HasSubstr("are lost")));
  EXPECT_THAT(files_in(scratch_ / "taken"), Contains("cut.safetensors"));
  // Once a file, however many of its parts are taken; not with --quiet.
  const std::string list = scratch_ / "list.jsonl";
  {
    std::ofstream rows(list);
    for (int i = 0; i < 4; ++i) {
      rows << "{\"audio_filepath\": \"" << damaged << "\", \"offset\": 0." << i
           << ", \"duration\": 0.1}\n";
    }
  }
  const Result parts = features({"--manifest", list}, "parts", {"--salvage"});
  EXPECT_EQ(parts.status, 0) << parts.err;
  EXPECT_EQ(count_of(parts.err, "are lost"), 1) << parts.err;
  EXPECT_THAT(features({damaged}, "quiet", {"--salvage", "--quiet"}).err, IsEmpty());
  // What was salvaged is another run than what was whole.
  const Result other = features({damaged, stereo_}, "taken");
  EXPECT_EQ(other.status, 2);
  EXPECT_THAT(other.errors(), ElementsAre(HasSubstr("salvage")));
}

TEST_F(Audio, ExtractTakesTheSameOptions) {
  const std::string model = scratch_ / "model";
  make_small_model(model);
  const auto extract = [&](const Words& inputs, const std::string& out, const Words& more) {
    Words words = {"extract", "--model", model, "--threads", "1", "--output", scratch_ / out};
    words.insert(words.end(), inputs.begin(), inputs.end());
    words.insert(words.end(), more.begin(), more.end());
    return run_program(words);
  };
  const Result each = extract({stereo_}, "each", {"--channels", "each"});
  EXPECT_EQ(each.status, 0) << each.err;
  EXPECT_THAT(files_in(scratch_ / "each"),
              IsSupersetOf({"stereo-ch1.safetensors", "stereo-ch2.safetensors"}));
  EXPECT_THAT(each.err, HasSubstr("2 channels: each is a clip of its own"));
  const std::string damaged = cut(mono_, "cut.wav");
  EXPECT_EQ(extract({damaged}, "refused", {}).status, 3);
  const Result taken = extract({damaged}, "taken", {"--salvage"});
  EXPECT_EQ(taken.status, 0);
  EXPECT_THAT(taken.err, HasSubstr("are lost"));
}

TEST_F(Audio, LongFilesAreRefusedUnderEitherNameOfTheLimit) {
  for (const char* option : {"--max-audio-seconds", "--max-seconds"}) {
    const Result result = features({stereo_, mono_}, option, {option, "0.9"});
    EXPECT_EQ(result.status, 3);
    EXPECT_THAT(result.errors(),
                ElementsAre(AllOf(HasSubstr("stereo.wav: is longer than 0.9 seconds"),
                                  HasSubstr("--max-audio-seconds"))));
  }
}

TEST_F(Audio, OtherKindsOfAudioAreNamedWithWhatToDo) {
  const std::string path = scratch_ / "a.m4a";
  std::ofstream(path, std::ios::binary)
      << std::string("\0\0\0\x20", 4) << "ftypM4A " << std::string(400, '\0');
  const Result result = features({path}, "out");
  EXPECT_EQ(result.status, 3);
  EXPECT_THAT(result.errors(),
              ElementsAre(AllOf(HasSubstr("a.m4a: is an MP4 file"), HasSubstr("ffmpeg"))));
}

// Each bit is in a frame, of which libmpg123 says a line where it cannot decode it.
TEST_F(Audio, SaysNothingOfItsDecodersOwn) {
  const std::string whole = content_of(W2VBERT_AUDIO_CORPUS "/xing.mp3");
  Words inputs;
  for (std::size_t at = 400; at < 3900; at += 40) {
    std::string flipped = whole;
    flipped[at] = static_cast<char>(flipped[at] ^ 0x10);
    inputs.push_back(scratch_ / (std::to_string(at) + ".mp3"));
    std::ofstream(inputs.back(), std::ios::binary) << flipped;
  }
  const Result result = features(inputs, "flipped", {"--quiet"});
  EXPECT_THAT(result.status, AnyOf(0, 3)) << result.err;
  EXPECT_EQ(static_cast<std::size_t>(count_of(result.err, "\n")), result.errors().size())
      << result.err;
}

}  // namespace
}  // namespace w2vbert::tool::testing
