#include "engine/device/device_memory.h"

#include <c10/core/Allocator.h>
#include <c10/core/CPUAllocator.h>
#include <gtest/gtest.h>
#include <torch/types.h>

#include <algorithm>
#include <cstring>
#include <map>
#include <mutex>
#include <random>
#include <string>
#include <vector>

#include "engine/device/device_cases.h"
#include "engine/device/device_copies.h"

namespace w2vbert::testing {
namespace {

using torch::kBFloat16;
using torch::kFloat;

// LibTorch's allocator of the CPU, which counts while this lives.
class CountedMemory final : public c10::Allocator {
 public:
  CountedMemory() { c10::SetCPUAllocator(this, kPriority); }
  ~CountedMemory() override { c10::SetCPUAllocator(before_, kPriority); }
  CountedMemory(const CountedMemory&) = delete;
  CountedMemory& operator=(const CountedMemory&) = delete;

  std::int64_t most() const { return most_; }

  // A raw allocation wants the memory itself as its context.
  c10::DataPtr allocate(std::size_t bytes) override {
    void* const memory = before_->raw_allocate(bytes);
    const std::lock_guard lock(mutex_);
    sizes_[memory] = static_cast<std::int64_t>(bytes);
    now_ += static_cast<std::int64_t>(bytes);
    most_ = std::max(most_, now_);
    return {memory, memory, &free, c10::Device(c10::kCPU)};
  }
  c10::DeleterFnPtr raw_deleter() const override { return &free; }
  void copy_data(void* to, const void* from, std::size_t bytes) const override {
    std::memcpy(to, from, bytes);
  }

 private:
  static constexpr std::uint8_t kPriority = 100;
  static void free(void* memory) {
    {
      const std::lock_guard lock(mutex_);
      now_ -= sizes_[memory];
      sizes_.erase(memory);
    }
    c10::GetDefaultCPUAllocator()->raw_deallocate(memory);
  }

  c10::Allocator* before_ = c10::GetDefaultCPUAllocator();
  std::int64_t most_ = 0;
  // Blocks may outlive the counting.
  static inline std::mutex mutex_;
  static inline std::map<void*, std::int64_t> sizes_;
  static inline std::int64_t now_ = 0;
};

Wav2Vec2BertConfig model_config() {
  Wav2Vec2BertConfig config;
  config.hidden_size = 128;
  config.intermediate_size = 512;
  config.num_attention_heads = 2;
  config.num_hidden_layers = 3;
  return config;
}

TEST(DeviceMemory, AFrameTakesNoMoreThanIsReckonedWith) {
  const Wav2Vec2BertConfig config = model_config();
  std::mt19937 random(7);
  std::vector<EngineClip> clips;  // short ones: attention takes next to nothing
  std::int64_t frames = 0;
  for (; frames < 6000; frames += 30) {
    clips.push_back(random_clip(random, 30, config.feature_projection_input_dim));
  }
  for (const Precision precision : {Precision::float32, Precision::bfloat16}) {
    for (const std::size_t states : {1, 4}) {
      SCOPED_TRACE(name_of(precision) + ", " + std::to_string(states) + " states");
      Wav2Vec2BertModel model = model_of(config, 5);
      model->to(dtype_of(precision));
      DeviceEngine engine = device_engine(std::move(model), precision);
      const std::vector<StateId> wanted =
          states == 1 ? std::vector<StateId>{3} : std::vector<StateId>{0, 1, 2, 3};
      const CountedMemory memory;
      std::vector<at::Tensor> stored;
      for (const ClipStates& clip : engine.compute(clips, wanted)) {
        for (const at::Tensor& state : clip.states) stored.push_back(state.to(kFloat));
      }
      const auto reckoned = static_cast<double>(
          frames * device_frame_bytes(config, {.dtype = dtype_of(precision), .states = states}));
      EXPECT_LT(static_cast<double>(memory.most()), reckoned);
      EXPECT_GT(static_cast<double>(memory.most()), reckoned / 3);
    }
  }
}

TEST(DeviceMemory, BatchesAreSmallerWhereThereIsLessMemory) {
  const Wav2Vec2BertConfig config;  // the full size
  constexpr std::int64_t kGiB = std::int64_t{1} << 30;
  const DeviceBatches one{.dtype = kBFloat16, .output_dtype = kBFloat16};
  DeviceBatches two = one, many = one, wide = one;
  two.at_once = 2;
  many.states = 25;
  wide.dtype = wide.output_dtype = kFloat;
  const std::int64_t frames = device_batch_frames(config, one, 80 * kGiB);
  EXPECT_GT(frames, 16'000);
  EXPECT_GT(device_batch_frames(config, two, 80 * kGiB), 16'000);
  EXPECT_LT(device_batch_frames(config, two, 80 * kGiB), frames / 2);
  EXPECT_LT(device_batch_frames(config, many, 80 * kGiB), frames / 2);
  EXPECT_LT(device_batch_frames(config, wide, 80 * kGiB), frames);
  EXPECT_LT(device_batch_frames(config, one, 20 * kGiB), frames / 4);
  EXPECT_LE(device_batch_frames(config, one, 0), 0);
}

TEST(DeviceMemory, FreeMemoryOfACpuIsWhatTheProcessMayTake) {
  const auto free = free_memory(c10::Device(c10::kCPU));
  ASSERT_TRUE(free.has_value());
  EXPECT_GT(*free, 1 << 20);
}

// --- Copies ---

TEST(DeviceCopies, DownloadGivesContiguousTensorsOfTheCpuInTheirOrder) {
  const at::Tensor rows = torch::rand({5, 7});
  const at::Tensor columns = rows.t();
  const std::vector<at::Tensor> got = download({columns, rows, rows.to(kBFloat16)});
  ASSERT_EQ(got.size(), 3U);
  EXPECT_TRUE(got[0].is_contiguous());
  EXPECT_TRUE(got[0].equal(columns));
  EXPECT_TRUE(got[1].equal(rows));
  EXPECT_TRUE(got[2].equal(rows.to(kBFloat16)));
  EXPECT_TRUE(download({}).empty());
}

TEST(DeviceCopies, ACpuHasNoStreams) {
  const DeviceStream stream(c10::Device(c10::kCPU));
  const DeviceStream::Use use(stream);
  const DeviceStream::Use again(stream);
  EXPECT_TRUE(torch::ones({2}).add(1).equal(torch::full({2}, 2.0)));
}

}  // namespace
}  // namespace w2vbert::testing
