#include "clip_reader.h"

#include <ATen/ATen.h>
#include <c10/util/ParallelGuard.h>

#include <algorithm>
#include <optional>
#include <utility>

#include "w2vbert/core/error.h"
#include "w2vbert/core/stopwatch.h"

namespace w2vbert {
namespace {

constexpr std::int64_t kMinSamples = SeamlessM4TFeatureExtractor::kMinSamples;

}  // namespace

ClipReader::ClipReader(const InputList& inputs, const std::vector<std::size_t>& pending,
                       const ClipRunRequest& request, int threads, std::int64_t frames_ahead)
    : inputs_(inputs),
      pending_(pending),
      request_(request),
      ready_(frames_ahead),
      threads_left_(static_cast<std::size_t>(threads)) {
  for (int i = 0; i < threads; ++i) threads_.emplace_back([this] { work(); });
}

ClipReader::~ClipReader() {
  ready_.close();
  for (std::thread& thread : threads_) thread.join();
}

std::vector<ReadClip> ClipReader::next_batch(std::int64_t most_frames) {
  std::vector<ReadClip> batch;
  std::optional<ReadClip> clip = ready_.pop();
  while (clip) {
    most_frames -= std::max<std::int64_t>(1, clip->frames());
    batch.push_back(std::move(*clip));
    clip = ready_.pop_if_there(most_frames);
  }
  return batch;
}

void ClipReader::work() {
  const c10::ParallelGuard alone(true);  // the cores are the engine's
  const SeamlessM4TFeatureExtractor extractor(request_.features);
  Decoded decoded;
  for (std::size_t i = next_.fetch_add(1); i < pending_.size(); i = next_.fetch_add(1)) {
    ReadClip clip;
    try {
      clip = read(pending_[i], extractor, decoded);
    } catch (...) {
      clip.failure = std::current_exception();
    }
    clip.index = pending_[i];
    const std::int64_t weight = std::max<std::int64_t>(1, clip.frames());
    if (!ready_.push(std::move(clip), weight)) return;
  }
  if (threads_left_.fetch_sub(1) == 1) ready_.close();
}

Waveform ClipReader::load(std::size_t index, Decoded& decoded) const {
  const std::string path = inputs_.path(index);
  const auto segment = inputs_.segment(index);
  if (!segment) return load_audio(path, request_.audio);
  if (decoded.path != path) {
    decoded.path.clear();
    decoded.waveform = decode_audio(path, request_.audio);
    decoded.path = path;
  }
  return resample_audio(
      cut_audio(decoded.waveform, segment->offset_seconds, segment->duration_seconds, path),
      request_.audio, path);
}

ReadClip ClipReader::read(std::size_t index, const SeamlessM4TFeatureExtractor& extractor,
                          Decoded& decoded) const {
  const at::NoGradGuard no_grad;
  ReadClip clip;
  Stopwatch watch;
  const Waveform waveform = load(index, decoded);
  clip.read_seconds = watch.seconds();
  clip.samples = static_cast<std::int64_t>(waveform.samples.size());
  clip.sample_rate_hz = waveform.sample_rate_hz;
  clip.source_sample_rate_hz = waveform.source_rate;
  clip.source_channels = waveform.source_channels;
  if (clip.samples < kMinSamples) {
    throw AudioError(inputs_.path(index), "",
                     "has " + std::to_string(clip.samples) + " samples at " +
                         std::to_string(clip.sample_rate_hz) + " Hz",
                     "at least " + std::to_string(kMinSamples));
  }
  watch = Stopwatch();
  const SeamlessM4TFeatureExtractor::Features features = extractor({waveform.samples});
  clip.features.input_features = features.input_features[0];  // (1, T, F) -> (T, F)
  clip.features.attention_mask = features.attention_mask[0];  // (1, T) -> (T)
  clip.feature_seconds = watch.seconds();
  return clip;
}

}  // namespace w2vbert
