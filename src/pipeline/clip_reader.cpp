#include "clip_reader.h"

#include <ATen/ATen.h>

#include <utility>

#include "stopwatch.h"
#include "w2vbert/core/error.h"

namespace w2vbert {
namespace {


// Clips ready and waiting: enough to hide reading, few enough to keep memory flat.
constexpr std::size_t kMaxReady = 1;
constexpr std::int64_t kMinSamples = SeamlessM4TFeatureExtractor::kMinSamples;

}  // namespace

ClipReader::ClipReader(const InputList& inputs, const std::vector<std::size_t>& pending,
                       const ClipRunRequest& request)
    : inputs_(inputs),
      pending_(pending),
      request_(request),
      extractor_(request.features),
      thread_([this] { work(); }) {}

ClipReader::~ClipReader() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  changed_.notify_all();
  thread_.join();
}

ReadClip ClipReader::next() {
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [this] { return !ready_.empty(); });
  ReadClip clip = std::move(ready_.front());
  ready_.pop_front();
  lock.unlock();
  changed_.notify_all();
  return clip;
}

void ClipReader::work() {
  for (const std::size_t index : pending_) {
    {
      std::unique_lock lock(mutex_);
      changed_.wait(lock, [this] { return stopping_ || ready_.size() < kMaxReady; });
      if (stopping_) return;
    }
    ReadClip clip;
    try {
      clip = read(index);
    } catch (...) {
      clip.failure = std::current_exception();
    }
    clip.index = index;
    {
      const std::lock_guard lock(mutex_);
      ready_.push_back(std::move(clip));
    }
    changed_.notify_all();
  }
}

ReadClip ClipReader::read(std::size_t index) const {
  const at::NoGradGuard no_grad;
  ReadClip clip;
  const std::string path = inputs_.path(index);
  Stopwatch watch;
  const Waveform waveform = load_audio(path, request_.audio);
  clip.read_seconds = watch.seconds();
  clip.samples = static_cast<std::int64_t>(waveform.samples.size());
  clip.sample_rate_hz = waveform.sample_rate_hz;
  clip.source_sample_rate_hz = waveform.source_rate;
  clip.source_channels = waveform.source_channels;
  if (clip.samples < kMinSamples) {
    throw AudioError(path, "", "has " + std::to_string(clip.samples) + " samples at " +
                     std::to_string(clip.sample_rate_hz) + " Hz",
                     "at least " + std::to_string(kMinSamples));
  }
  watch = Stopwatch();
  const SeamlessM4TFeatureExtractor::Features features = extractor_({waveform.samples});
  clip.features.input_features = features.input_features[0];  // (1, T, F) -> (T, F)
  clip.features.attention_mask = features.attention_mask[0];  // (1, T) -> (T)
  clip.feature_seconds = watch.seconds();
  return clip;
}

}  // namespace w2vbert
