#include "tool/run/clip_reader.h"

#include <ATen/Parallel.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <filesystem>
#include <memory>
#include <numeric>
#include <set>
#include <string>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

#include "core/one_core.h"
#include "support/raw_safetensors.h"
#include "support/temporary_directory.h"
#include "support/thread_limit.h"
#include "support/wrapped_pread.h"
#include "support/write_clip.h"
#include "w2vbert/audio/audio_file.h"
#include "w2vbert/core/error.h"

namespace w2vbert::tool::testing {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

constexpr std::int64_t kPlenty = 1 << 20;

class Reader : public ::testing::Test {
 protected:
  // A second has 49 rows of features: (16000 - 400) / 160 + 1 = 98 frames, two in a row.
  std::string clip(int number, int samples = 16000, int rate = 16000, int channels = 1) {
    std::string path = scratch_ / ("clip-" + std::to_string(number) + ".wav");
    write_clip(path, samples, number, rate, channels);
    return path;
  }
  std::vector<ReadClip> read_all(const InputList& inputs, const std::vector<std::size_t>& pending,
                                 int threads = 1, std::int64_t max_frames = kPlenty) {
    ClipReader reader(inputs, pending, request_, threads, kPlenty);
    std::vector<ReadClip> clips;
    for (;;) {
      std::vector<ReadClip> batch = reader.next_batch(max_frames);
      if (batch.empty()) return clips;
      for (ReadClip& one : batch) clips.push_back(std::move(one));
    }
  }
  std::string message_of(const ReadClip& clip) {
    if (!clip.failure) return "read";
    try {
      std::rethrow_exception(clip.failure);
    } catch (const AudioError& error) {
      return error.what();
    } catch (const std::exception& error) {
      return std::string("another error: ") + error.what();
    }
  }
  at::Tensor features_of(const std::string& path) {
    const SeamlessM4TFeatureExtractor extractor(request_.features);
    return extractor({load_audio(path, request_.audio).samples}).input_features[0];
  }
  static std::vector<std::size_t> indices_of(const std::vector<ReadClip>& clips) {
    std::vector<std::size_t> indices;
    for (const ReadClip& clip : clips) indices.push_back(clip.index);
    return indices;
  }
  const TemporaryDirectory scratch_;
  // As in the reader: ThreadSanitizer does not see what OpenMP's threads wait for.
  OneCore alone_;
  ClipRunRequest request_;
};

TEST_F(Reader, GivesTheFeaturesOfWhatIsPendingInItsOrder) {
  InputList inputs("/");
  for (int i = 0; i < 4; ++i) inputs.add(clip(i, 16000 + 1000 * i, 8000 * (1 + i % 2), 1 + i % 2));
  inputs.finish();
  const auto clips = read_all(inputs, {3, 0, 2});
  EXPECT_EQ(indices_of(clips), (std::vector<std::size_t>{3, 0, 2}));
  for (const ReadClip& one : clips) {
    ASSERT_EQ(message_of(one), "read");
    const int number = static_cast<int>(one.index);
    EXPECT_TRUE(one.features.input_features.equal(features_of(inputs.path(one.index))));
    EXPECT_EQ(one.features.attention_mask.size(0), one.frames());
    EXPECT_EQ(one.sample_rate_hz, 16000);
    EXPECT_EQ(one.source_sample_rate_hz, 8000 * (1 + number % 2));
    EXPECT_EQ(one.source_channels, 1 + number % 2);
    EXPECT_EQ(one.samples, (16000 + 1000 * number) * (number % 2 == 0 ? 2 : 1));
  }
}

TEST_F(Reader, GivesEachClipOnceFromAnyNumberOfThreads) {
  InputList inputs("/");
  std::vector<std::size_t> pending;
  for (int i = 0; i < 20; ++i) {
    inputs.add(clip(i, 1600 + 320 * i));
    pending.push_back(static_cast<std::size_t>(i));
  }
  inputs.finish();
  for (const int threads : {1, 3, 30}) {
    const auto clips = read_all(inputs, pending, threads);
    ASSERT_EQ(clips.size(), 20U);
    std::set<std::size_t> seen;
    for (const ReadClip& one : clips) {
      seen.insert(one.index);
      EXPECT_EQ(one.samples, 1600 + 320 * static_cast<std::int64_t>(one.index));
    }
    EXPECT_EQ(seen.size(), 20U);
  }
}

TEST_F(Reader, FillsABatchAsFarAsItsFramesGo) {
  InputList inputs("/");
  for (int i = 0; i < 5; ++i) inputs.add(clip(i, i == 2 ? 48000 : 16000));  // 49 or 149 rows
  inputs.finish();
  const std::vector<std::size_t> pending = {0, 1, 2, 3, 4};
  ClipReader reader(inputs, pending, request_, 1, kPlenty);
  // So that more clips are there than a batch may have.
  std::this_thread::sleep_for(std::chrono::milliseconds(300));
  std::vector<std::size_t> seen;
  for (;;) {
    const auto batch = reader.next_batch(100);
    if (batch.empty()) break;
    std::int64_t frames = 0;
    for (const ReadClip& one : batch) {
      frames += one.frames();
      seen.push_back(one.index);
    }
    EXPECT_TRUE(frames <= 100 || batch.size() == 1) << frames;
  }
  EXPECT_THAT(seen, ElementsAre(0, 1, 2, 3, 4));
  EXPECT_EQ(reader.hanging(), 0);
}

TEST_F(Reader, SaysWhatIsWrongWithOneClipAndReadsTheOthers) {
  InputList inputs("/");
  inputs.add(clip(0));
  inputs.add(scratch_ / "missing.wav");
  write_text(scratch_ / "text.wav", "no audio");
  inputs.add(scratch_ / "text.wav");
  inputs.add(clip(1, 559));
  inputs.add(clip(2, 560));
  inputs.finish();
  const auto clips = read_all(inputs, {0, 1, 2, 3, 4});
  ASSERT_EQ(indices_of(clips), (std::vector<std::size_t>{0, 1, 2, 3, 4}));
  EXPECT_EQ(message_of(clips[0]), "read");
  EXPECT_THAT(message_of(clips[1]), HasSubstr("missing.wav"));
  EXPECT_THAT(message_of(clips[2]), HasSubstr("text.wav"));
  EXPECT_THAT(message_of(clips[3]),
              HasSubstr("has 559 samples at 16000 Hz, expected at least 560"));
  EXPECT_EQ(message_of(clips[4]), "read");
  EXPECT_EQ(clips[1].frames(), 0);
}

TEST_F(Reader, CutsPartsOutOfAFile) {
  const std::string path = clip(0, 32000), other = clip(1, 8000);
  InputList parts("/");
  parts.add(path, {0.5, 0.25});
  parts.add(path, {1.25, 0.0});
  parts.add(other, {0.25, 0.1});
  parts.add(path, {1.75, 1.0});
  parts.finish();
  const auto clips = read_all(parts, {0, 1, 2, 3});
  ASSERT_EQ(clips.size(), 4U);
  const Waveform whole = decode_audio(path), second = decode_audio(other);
  const SeamlessM4TFeatureExtractor extractor(request_.features);
  const auto expected = [&](const Waveform& from, std::ptrdiff_t begin, std::ptrdiff_t end) {
    return extractor({std::vector<float>(from.samples.begin() + begin, from.samples.begin() + end)})
        .input_features[0];
  };
  EXPECT_TRUE(clips[0].features.input_features.equal(expected(whole, 8000, 12000)));
  EXPECT_TRUE(clips[1].features.input_features.equal(expected(whole, 20000, 32000)));
  EXPECT_TRUE(clips[2].features.input_features.equal(expected(second, 4000, 5600)));
  EXPECT_THAT(message_of(clips[3]), HasSubstr("clip-0.wav"));
}

TEST_F(Reader, SaysWhichSamplesOfItsFileAClipIs) {
  const std::string path = clip(0, 8000, 8000);
  InputList inputs("/");
  inputs.add(path, {0.5, 0.25});
  inputs.add(path, {0.5, 0});
  inputs.add(path, {0, 1.05, /*has_offset=*/false});  // rounded up
  inputs.add(path);
  const auto clips = read_all(inputs, {0, 1, 2, 3});
  ASSERT_EQ(clips.size(), 4U);
  const std::vector<std::pair<std::int64_t, std::int64_t>> expected = {
      {4000, 6000}, {4000, 8000}, {0, 8000}, {0, 8000}};
  for (std::size_t i = 0; i < clips.size(); ++i) {
    ASSERT_EQ(message_of(clips[i]), "read");
    const FilePart part = clips[i].input.part.value();
    EXPECT_EQ(std::pair(part.begin, part.end), expected[i]) << i;
    EXPECT_EQ(part.total, 8000);
    EXPECT_EQ(part.sample_rate_hz, 8000);
  }
}

// A file of 16-bit samples without its last byte.
void cut_short(const std::string& path) {
  std::filesystem::resize_file(path, std::filesystem::file_size(path) - 1);
}

TEST_F(Reader, DecodesAFileThatFailsOnceForAllItsParts) {
  const std::string bad = clip(0), good = clip(1);
  cut_short(bad);
  const auto reads_for = [&](int parts) {
    InputList inputs("/");
    std::vector<std::size_t> pending;
    for (int i = 0; i < parts; ++i) {
      inputs.add(bad, {0.01 * i, 0.1});
      inputs.add(good, {0.01 * i, 0.1});  // so that the bad one is not the last one decoded
    }
    for (std::size_t i = 0; i < inputs.size(); i += 2) pending.push_back(i);
    inputs.finish();
    wrapped_pread.calls = 0;
    const auto clips = read_all(inputs, pending);
    EXPECT_EQ(clips.size(), static_cast<std::size_t>(parts));
    for (const ReadClip& one : clips)
      EXPECT_THAT(message_of(one), HasSubstr("clip-0.wav: is trunc"));
    return wrapped_pread.calls.load();
  };
  EXPECT_EQ(reads_for(50), reads_for(1));
}

TEST_F(Reader, TriesAFileAgainThatWasMendedMeanwhile) {
  const std::string path = clip(0), mended = clip(1);
  cut_short(path);
  InputList inputs("/");
  for (int i = 0; i < 4; ++i) inputs.add(path, {0.1 * i, 0.1});
  inputs.finish();
  const std::vector<std::size_t> pending = {0, 1, 2, 3};
  // One clip fills the queue, and the thread waits with the next one: when the first has been
  // taken, the fourth has not been read.
  ClipReader reader(inputs, pending, request_, 1, 1);
  EXPECT_THAT(message_of(reader.next_batch(1).at(0)), HasSubstr("is truncated"));
  std::filesystem::rename(mended, path);
  std::string last;
  for (auto batch = reader.next_batch(1); !batch.empty(); batch = reader.next_batch(1)) {
    last = message_of(batch.back());
  }
  EXPECT_EQ(last, "read");
}

TEST_F(Reader, DecodesAFileAnewThatIsAnotherOneBetweenTwoOfItsParts) {
  const std::string path = clip(0), other = clip(1, 32000);
  InputList inputs("/");
  for (int i = 0; i < 4; ++i) inputs.add(path, {0.1 * i, 0.1});
  inputs.finish();
  const std::vector<std::size_t> pending = {0, 1, 2, 3};
  // As above: when the first clip has been taken, the fourth has not been read.
  ClipReader reader(inputs, pending, request_, 1, 1);
  EXPECT_EQ(reader.next_batch(1).at(0).input.part->total, 16000);
  std::filesystem::rename(other, path);
  std::int64_t total = 0;
  for (auto batch = reader.next_batch(1); !batch.empty(); batch = reader.next_batch(1)) {
    ASSERT_EQ(message_of(batch.back()), "read");
    total = batch.back().input.part->total;
  }
  EXPECT_EQ(total, 32000);
}

// A list of one file, and samples as of callers, one turn after the other.
class MixedSource : public ClipSource {
 public:
  explicit MixedSource(std::vector<ClipInput> inputs) : inputs_(std::move(inputs)) {}
  Turns next() override {
    const std::size_t turn = next_;
    next_ = std::min(next_ + 1, inputs_.size());
    return {turn, next_};
  }
  std::size_t index(std::size_t turn) const override { return 10 * turn; }
  ClipInput input(std::size_t turn) override {
    if (inputs_[turn].path == "bad") throw AudioError("", "", "no request");
    return inputs_[turn];
  }

 private:
  std::vector<ClipInput> inputs_;
  std::size_t next_ = 0;
};

TEST_F(Reader, TakesWhatAnotherSourceGives) {
  const std::string stereo = clip(2, 16000, 16000, 2);
  const Waveform samples = load_audio(clip(3));
  Waveform high = decode_audio(clip(4, 44100, 44100));
  ClipInput by_samples, resampled, second, bad, short_samples;
  by_samples.waveform = samples;
  resampled.waveform = high;
  second.path = stereo;
  second.channel = 2;
  bad.path = "bad";
  short_samples.waveform = samples;
  short_samples.waveform->samples.resize(100);
  ClipReader reader(std::make_shared<MixedSource>(
                        std::vector<ClipInput>{by_samples, second, bad, resampled, short_samples}),
                    request_, 2, kPlenty, ClipOrder::as_listed);
  std::vector<ReadClip> clips;
  for (auto batch = reader.next_batch(kPlenty); !batch.empty();
       batch = reader.next_batch(kPlenty)) {
    for (ReadClip& one : batch) clips.push_back(std::move(one));
  }
  EXPECT_THAT(indices_of(clips), ElementsAre(0, 10, 20, 30, 40));
  // The features of the files themselves.
  InputList inputs("/");
  for (const std::string& path : {clip(3), stereo, clip(4, 44100, 44100)}) inputs.add(path);
  inputs.finish();
  const auto of_files = read_all(inputs, {0, 1, 2});
  EXPECT_TRUE(clips[0].features.input_features.equal(of_files[0].features.input_features));
  EXPECT_FALSE(clips[1].features.input_features.equal(of_files[1].features.input_features));
  EXPECT_TRUE(clips[3].features.input_features.equal(of_files[2].features.input_features));
  EXPECT_EQ(clips[3].source_sample_rate_hz, 44100);
  EXPECT_THAT(message_of(clips[2]), HasSubstr("no request"));
  EXPECT_THAT(message_of(clips[4]), HasSubstr("has 100 samples"));
}

TEST_F(Reader, ComputesOnOneCoreInEachThreadAndLeavesTheOthersToTheEngine) {
  class Asking : public MixedSource {
   public:
    using MixedSource::MixedSource;
    ClipInput input(std::size_t turn) override {
      most_ = std::max(most_.load(), at::get_num_threads());
      return MixedSource::input(turn);
    }
    int most() const { return most_; }

   private:
    std::atomic<int> most_{0};
  };
  at::set_num_threads(3);
  ClipInput input;
  input.path = clip(0);
  const auto source = std::make_shared<Asking>(std::vector<ClipInput>{input, input});
  {
    ClipReader reader(source, request_, 1, kPlenty);
    EXPECT_EQ(reader.next_batch(1).size(), 1U);
  }
  EXPECT_EQ(source->most(), 1);
  EXPECT_EQ(at::get_num_threads(), 3);
}

TEST_F(Reader, RefusesSamplesThatAreLongerThanAsked) {
  request_.audio.max_seconds = 0.5;
  ClipInput input;
  input.waveform = decode_audio(clip(0));
  ClipReader reader(std::make_shared<MixedSource>(std::vector<ClipInput>{input}), request_, 1,
                    kPlenty);
  EXPECT_THAT(message_of(reader.next_batch(kPlenty).at(0)), HasSubstr("are 1 seconds"));
}

// As rsync -t leaves it: of the size and time that the first one had.
TEST_F(Reader, RefusesAFileThatAnotherOneTookThePlaceOf) {
  for (const bool part : {false, true}) {
    const std::string path = clip(0), other = clip(1);
    std::filesystem::last_write_time(other, std::filesystem::last_write_time(path));
    InputList inputs("/");
    part ? inputs.add(path, {0.25, 0.5}) : inputs.add(path);
    inputs.finish();
    wrapped_pread.before = [&] {
      if (std::filesystem::exists(other)) std::filesystem::rename(other, path);
    };
    const auto clips = read_all(inputs, {0});
    wrapped_pread.before = nullptr;
    ASSERT_EQ(clips.size(), 1U);
    EXPECT_THAT(message_of(clips[0]), HasSubstr("was changed by another process"));
  }
}

TEST_F(Reader, AFileThatHangsFailsAllItsParts) {
  struct Hang {
    Hang() { wrapped_pread.hangs = true; }
    ~Hang() { wrapped_pread.hangs = false; }
  };
  const std::string path = clip(0);
  InputList inputs("/");
  std::vector<std::size_t> pending;
  for (std::size_t i = 0; i < 20; ++i) {
    inputs.add(path, {0.01 * static_cast<double>(i), 0.1});
    pending.push_back(i);
  }
  inputs.finish();
  request_.read_timeout_seconds = 0.05;
  const Hang hang;
  ClipReader reader(inputs, pending, request_, 1, kPlenty);
  std::size_t failed = 0;
  for (auto batch = reader.next_batch(kPlenty); !batch.empty();
       batch = reader.next_batch(kPlenty)) {
    for (const ReadClip& one : batch) {
      EXPECT_THAT(message_of(one), HasSubstr("its decoder gave nothing"));
      ++failed;
    }
  }
  EXPECT_EQ(failed, 20U);
  EXPECT_EQ(reader.hanging(), 1);
}

TEST_F(Reader, GivesClipsAsListedFromSeveralThreads) {
  InputList inputs("/");
  std::vector<std::size_t> pending;
  for (std::size_t i = 0; i < 24; ++i) {  // every sixth takes a hundred times as long as the others
    inputs.add(clip(static_cast<int>(i), i % 6 == 5 ? 1'600'000 : 16'000));
    pending.insert(pending.begin(), i);
  }
  inputs.finish();
  for (const std::int64_t frames_ahead : {std::int64_t{1}, kPlenty}) {
    ClipReader reader(inputs, pending, request_, 4, frames_ahead, ClipOrder::as_listed);
    std::vector<std::size_t> indices;
    for (auto batch = reader.next_batch(kPlenty); !batch.empty();
         batch = reader.next_batch(kPlenty)) {
      for (const ReadClip& one : batch) {
        EXPECT_EQ(message_of(one), "read");
        indices.push_back(one.index);
      }
    }
    EXPECT_EQ(indices, pending);
  }
}

TEST_F(Reader, DecodesAFileOnceForPartsThatFollowEachOtherHoweverManyThreadsRead) {
  const std::string a = clip(0, 160'000), b = clip(1, 160'000);
  InputList inputs("/");
  std::vector<std::size_t> pending;
  for (std::size_t i = 0; i < 40; ++i) {
    inputs.add(i < 20 ? a : b, {0.2 * static_cast<double>(i % 20), 1});
    pending.push_back(i);
  }
  inputs.finish();
  const auto calls_with = [&](int threads) {
    const int before = wrapped_pread.calls;
    EXPECT_EQ(read_all(inputs, pending, threads).size(), 40U);
    return wrapped_pread.calls - before;
  };
  const int of_one = calls_with(1);
  EXPECT_GT(of_one, 2);
  EXPECT_EQ(calls_with(8), of_one);
}

TEST_F(Reader, ClipsThatHangHoldUpNeitherTheOrderNorEachOther) {
  struct Hang {
    Hang() { wrapped_pread.hangs = true; }
    ~Hang() { wrapped_pread.hangs = false; }
  };
  InputList inputs("/");
  for (int i = 0; i < 12; ++i) inputs.add(clip(i));
  inputs.finish();
  std::vector<std::size_t> pending(12);
  std::iota(pending.begin(), pending.end(), std::size_t{0});
  request_.read_timeout_seconds = 0.05;
  const Hang hang;
  ClipReader reader(inputs, pending, request_, 4, /*frames_ahead=*/1, ClipOrder::as_listed);
  std::vector<std::size_t> indices;
  for (auto batch = reader.next_batch(kPlenty); !batch.empty();
       batch = reader.next_batch(kPlenty)) {
    for (const ReadClip& one : batch) {
      EXPECT_THAT(message_of(one), HasSubstr("its decoder gave nothing"));
      indices.push_back(one.index);
    }
  }
  EXPECT_EQ(indices, pending);
  EXPECT_EQ(reader.hanging(), 12);
}

TEST_F(Reader, ReadsEachChannelOfASplitList) {
  const std::string path = clip(0, 16000, 16000, 3);
  InputList inputs("/");
  inputs.add(path);
  inputs.add(path, {0.5, 0.25});
  inputs.split_channels([&](std::size_t i) { return count_channels(inputs.path(i)); });
  inputs.finish();
  ASSERT_EQ(inputs.size(), 6U);
  request_.audio.channels = AudioOptions::Channels::one;
  const auto clips = read_all(inputs, {0, 1, 2, 3, 4, 5});
  for (const ReadClip& one : clips) {
    ASSERT_EQ(message_of(one), "read");
    AudioOptions audio = request_.audio;
    audio.channel = static_cast<int>(one.index % 3) + 1;
    const Waveform whole = decode_audio(path, audio);
    const Waveform part = one.index < 3 ? whole : cut_audio(whole, 0.5, 0.25, path);
    const SeamlessM4TFeatureExtractor extractor(request_.features);
    EXPECT_TRUE(one.features.input_features.equal(extractor(part).input_features[0])) << one.index;
  }
}

TEST_F(Reader, EndsWithClipsThatNobodyTook) {
  InputList inputs("/");
  std::vector<std::size_t> pending;
  for (int i = 0; i < 12; ++i) {
    inputs.add(clip(i));
    pending.push_back(static_cast<std::size_t>(i));
  }
  inputs.finish();
  // One clip fills the queue: the threads are waiting to hand over the next ones.
  ClipReader reader(inputs, pending, request_, 2, 1);
  EXPECT_EQ(reader.next_batch(1).size(), 1U);
}

TEST_F(Reader, EndsTheThreadsThatItHasWhenAnotherOneCannotStart) {
  InputList inputs("/");
  for (int i = 0; i < 4; ++i) inputs.add(clip(i));
  inputs.finish();
  const std::vector<std::size_t> pending = {0, 1, 2, 3};
  for (const int threads : {0, 1, 2, 3}) {  // of three that read and one that watches
    const ThreadLimit limit(threads);
    EXPECT_THROW(ClipReader(inputs, pending, request_, 3, kPlenty), std::system_error) << threads;
  }
  const ThreadLimit limit(4);
  EXPECT_EQ(read_all(inputs, pending, 3).size(), 4U);
}

TEST_F(Reader, SaysThatAThreadThatHangsCannotBeReplaced) {
  struct Hang {
    Hang() { wrapped_pread.hangs = true; }
    ~Hang() { wrapped_pread.hangs = false; }
  };
  InputList inputs("/");
  for (int i = 0; i < 2; ++i) inputs.add(clip(i));
  inputs.finish();
  const std::vector<std::size_t> pending = {0, 1};
  request_.read_timeout_seconds = 0.05;
  const Hang hang;
  const ThreadLimit limit(2);
  ClipReader reader(inputs, pending, request_, 1, kPlenty);
  const auto batch = reader.next_batch(kPlenty);
  ASSERT_EQ(indices_of(batch), (std::vector<std::size_t>{0}));
  EXPECT_THAT(message_of(batch[0]), HasSubstr("its decoder gave nothing for 0.05 seconds"));
  EXPECT_THROW(reader.next_batch(kPlenty), std::system_error);
  EXPECT_EQ(reader.hanging(), 1);
}

TEST_F(Reader, GivesNothingWhereNothingIsPending) {
  InputList inputs("/");
  inputs.add(clip(0));
  inputs.finish();
  EXPECT_THAT(read_all(inputs, {}, 3), IsEmpty());
}

}  // namespace
}  // namespace w2vbert::tool::testing
