#include "tool/run/clip_reader.h"

#include <ATen/ATen.h>
#include <sys/stat.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <optional>
#include <span>
#include <utility>

#include "audio/opened_audio.h"
#include "core/file.h"
#include "core/one_core.h"
#include "core/stopwatch.h"
#include "core/text.h"
#include "w2vbert/core/error.h"

namespace w2vbert::tool {
namespace {

constexpr std::int64_t kMinSamples = SeamlessM4TFeatureExtractor::kMinSamples;
constexpr std::size_t kMaxFailedFiles = 1000;  // to be remembered

// A path, the file that it leads to now, and the channel of it; "" where that cannot be told.
std::string identity_of(const InputPlace& place, int channel) {
  struct stat status = {};
  if (::stat(place.path_on_disk().c_str(), &status) != 0) return "";
  const FileIdentity file = w2vbert::identity_of(status);
  std::string identity = place.path;
  for (const auto number :
       {file.device, file.inode, file.bytes, static_cast<std::uint64_t>(file.modified_ns),
        static_cast<std::uint64_t>(channel)}) {
    identity += '\0' + std::to_string(number);
  }
  return identity;
}

}  // namespace

ClipReport report_of(const ReadClip& clip) {
  ClipReport report;
  report.frames = clip.frames();
  report.samples = clip.samples;
  report.sample_rate_hz = clip.sample_rate_hz;
  report.source_sample_rate_hz = clip.source_sample_rate_hz;
  report.source_channels = clip.source_channels;
  report.input = clip.input;
  report.audio_seconds = clip.audio_seconds();
  report.read_seconds = clip.read_seconds;
  report.note = clip.note;
  return report;
}

Waveform load_samples(Waveform samples, const AudioOptions& audio, const std::string& path) {
  const double seconds = static_cast<double>(samples.samples.size()) / samples.sample_rate_hz;
  if (audio.max_seconds > 0 && seconds > audio.max_seconds) {
    throw AudioError(path, "samples", "are " + number_text(seconds) + " seconds",
                     "at most " + number_text(audio.max_seconds), "max_seconds");
  }
  return resample_audio(std::move(samples), audio, path);
}

EngineClip features_of(const Waveform& waveform, const SeamlessM4TFeatureExtractor& extractor,
                       const std::string& path, const Windows& windows) {
  const std::span<const float> samples = waveform.samples;
  if (static_cast<std::int64_t>(samples.size()) < kMinSamples) {
    throw AudioError(path, "",
                     "has " + std::to_string(samples.size()) + " samples at " +
                         std::to_string(waveform.sample_rate_hz) + " Hz",
                     "at least " + std::to_string(kMinSamples));
  }
  std::vector<at::Tensor> rows, masks;
  for (const Window& window :
       windows_of(static_cast<std::int64_t>(samples.size()), windows, kMinSamples)) {
    const auto part = samples.subspan(static_cast<std::size_t>(window.begin),
                                      static_cast<std::size_t>(window.end - window.begin));
    const SeamlessM4TFeatureExtractor::Features features = extractor.extract({&part, 1}, {});
    rows.push_back(features.input_features[0]);  // (1, T, F) -> (T, F)
    if (features.attention_mask.defined()) {
      masks.push_back(features.attention_mask[0]);  // (1, T) -> (T)
    }
  }
  const auto joined = [](const std::vector<at::Tensor>& parts) {
    return parts.size() == 1 ? parts.front() : at::cat(parts);
  };
  EngineClip clip;
  clip.input_features = joined(rows);
  if (!masks.empty()) clip.attention_mask = joined(masks);
  clip.seconds = waveform.source_sample_rate_hz > 0
                     ? static_cast<double>(waveform.source_samples) / waveform.source_sample_rate_hz
                     : static_cast<double>(samples.size()) / waveform.sample_rate_hz;
  return clip;
}

std::exception_ptr ClipReader::FailedFiles::find(const std::string& identity) {
  const std::lock_guard lock(mutex_);
  const auto found = failures_.find(identity);
  return found == failures_.end() ? nullptr : found->second;
}

void ClipReader::FailedFiles::add(const std::string& identity, std::exception_ptr failure) {
  if (identity.empty()) return;
  const std::lock_guard lock(mutex_);
  if (failures_.size() >= kMaxFailedFiles) failures_.clear();
  failures_[identity] = std::move(failure);
}

ClipReader::ClipReader(const InputList& inputs, const std::vector<std::size_t>& pending,
                       const ClipRunRequest& request, int threads, std::int64_t frames_ahead,
                       ClipOrder order)
    : ClipReader(std::make_shared<ListedClips>(inputs, pending), request, threads, frames_ahead,
                 order) {}

ClipReader::ClipReader(std::shared_ptr<ClipSource> source, const ClipRunRequest& request,
                       int threads, std::int64_t frames_ahead, ClipOrder order)
    : source_(std::move(source)),
      request_(request),
      order_(order),
      ready_(frames_ahead),
      threads_left_(static_cast<std::size_t>(threads)) {
  try {
    for (int i = 0; i < threads; ++i) start_thread();
    watcher_ = std::thread([this] { watch(); });
  } catch (...) {
    stop();
    throw;
  }
}

ClipReader::~ClipReader() { stop(); }

void ClipReader::close() {
  ready_.close();
  source_->close();
}

void ClipReader::stop() {
  close();
  {
    const std::lock_guard lock(watching_mutex_);
    watching_ = false;
  }
  watching_changed_.notify_all();
  if (watcher_.joinable()) watcher_.join();
  for (Thread& one : threads_) {
    let_end(*one.decoding) ? one.thread.join() : one.thread.detach();
  }
}

bool ClipReader::let_end(Decoding& decoding) const {
  for (;;) {
    {
      const std::lock_guard lock(decoding.mutex);
      decoding.given_up = true;  // it goes on neither with this file nor with another one
      if (!decoding.active) return true;
      if (decoding.since_block.seconds() >= request_.read_timeout_seconds) return false;
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
}

void ClipReader::start_thread() {
  auto decoding = std::make_shared<Decoding>();
  // First, so that nothing throws once the thread runs.
  threads_.reserve(threads_.size() + 1);
  std::thread thread([this, decoding] { work(decoding); });
  threads_.push_back({std::move(thread), std::move(decoding)});
}

void ClipReader::watch() {
  const auto pause = std::chrono::duration<double>(request_.read_timeout_seconds / 8);
  std::unique_lock lock(watching_mutex_);
  try {
    while (!watching_changed_.wait_for(lock, pause, [this] { return !watching_; })) {
      for (std::size_t i = 0; i < threads_.size(); ++i) give_up_if_hanging(i);
    }
  } catch (...) {  // the clips that are left may have no thread to read them
    end_with(std::current_exception());
  }
}

void ClipReader::give_up_if_hanging(std::size_t thread) {
  const double timeout = request_.read_timeout_seconds;
  ReadClip clip;
  std::size_t turn = 0, end = 0;
  std::string path, identity;
  {
    Decoding& decoding = *threads_[thread].decoding;
    const std::lock_guard lock(decoding.mutex);
    if (!decoding.active || decoding.since_block.seconds() < timeout) return;
    decoding.given_up = true;
    turn = decoding.turn;
    end = decoding.end;
    path = decoding.path;
    identity = decoding.identity;
  }
  ++hanging_;
  threads_[thread].thread.detach();
  threads_.erase(threads_.begin() + static_cast<std::ptrdiff_t>(thread));
  clip.index = source_->index(turn);
  clip.failure = std::make_exception_ptr(
      AudioError(path, "", "its decoder gave nothing for " + number_text(timeout) + " seconds",
                 "a file that can be decoded, on a disk that answers"));
  failed_.add(identity, clip.failure);
  // Before the new thread may close the queue. In turn it must not wait: an earlier clip may hang,
  // too, and only this thread can give it up.
  if (order_ == ClipOrder::as_listed) {
    ready_.put_in_turn(std::move(clip), 1, turn);
  } else {
    ready_.push(std::move(clip), 1);
  }
  if (turn + 1 < end) {
    const std::lock_guard lock(left_mutex_);
    left_.push_back({turn + 1, end});
  }
  start_thread();
}

std::vector<ReadClip> ClipReader::next_batch(std::int64_t max_frames) {
  std::vector<ReadClip> batch;
  std::optional<ReadClip> clip = ready_.pop();
  while (clip) {
    max_frames -= std::max<std::int64_t>(1, clip->frames());
    batch.push_back(std::move(*clip));
    clip = ready_.pop_if_there(max_frames);
  }
  if (batch.empty()) {
    const std::lock_guard lock(error_mutex_);
    if (error_) std::rethrow_exception(error_);
  }
  return batch;
}

void ClipReader::end_with(std::exception_ptr error) {
  {
    const std::lock_guard lock(error_mutex_);
    if (!error_) error_ = std::move(error);
  }
  close();
}

void ClipReader::work(const std::shared_ptr<Decoding>& decoding) {
  try {
    read_pending(*decoding);
  } catch (...) {
    end_with(std::current_exception());
  }
}

void ClipReader::read_pending(Decoding& decoding) {
  const OneCore alone;  // the cores are the engine's
  const SeamlessM4TFeatureExtractor extractor(request_.features);
  Decoded decoded;
  InputOpener opener;
  for (auto turns = next_turns(); turns.begin < turns.end; turns = next_turns()) {
    for (std::size_t turn = turns.begin; turn < turns.end; ++turn) {
      ReadClip clip;
      try {
        ClipInput input = source_->input(turn);
        {
          const std::lock_guard lock(decoding.mutex);
          decoding.turn = turn;
          decoding.end = turns.end;
          decoding.path = input.path;
        }
        clip = read(input, extractor, decoded, opener, decoding);
      } catch (const GivenUp&) {
        return;
      } catch (...) {
        clip.failure = std::current_exception();
      }
      clip.index = source_->index(turn);
      if (!deliver(std::move(clip), turn)) return;
    }
  }
  if (threads_left_.fetch_sub(1) == 1) ready_.close();
}

ClipSource::Turns ClipReader::next_turns() {
  {
    const std::lock_guard lock(left_mutex_);
    if (!left_.empty()) {
      const ClipSource::Turns turns = left_.back();
      left_.pop_back();
      return turns;
    }
  }
  const std::lock_guard lock(next_mutex_);
  return source_->next();
}

bool ClipReader::deliver(ReadClip clip, std::size_t turn) {
  const std::int64_t weight = std::max<std::int64_t>(1, clip.frames());
  if (order_ == ClipOrder::as_read) return ready_.push(std::move(clip), weight);
  return ready_.push_in_turn(std::move(clip), weight, turn);
}

AudioOptions ClipReader::audio_of(const ClipInput& input) const {
  AudioOptions audio = request_.audio;
  if (input.channel) {
    audio.channels = AudioOptions::Channels::one;
    audio.channel = *input.channel;
  }
  return audio;
}

void ClipReader::set_active(Decoding& decoding, bool active, const std::string& identity) {
  const std::lock_guard lock(decoding.mutex);
  decoding.active = active && !decoding.given_up;
  // NOLINTNEXTLINE(bugprone-std-exception-baseclass): no handler of errors may take it
  if (decoding.given_up) throw GivenUp();
  decoding.identity = identity;
  decoding.since_block = Stopwatch();
}

bool ClipReader::is_in_place(const Decoded& decoded, Decoding& decoding) {
  set_active(decoding, true);
  const std::string identity = identity_of(decoded.place, decoded.channel);
  set_active(decoding, false);
  return !identity.empty() && identity == decoded.identity;
}

ClipReader::Decoded ClipReader::decode(const ClipInput& input, InputOpener& opener,
                                       Decoding& decoding, Decoder how) const {
  // `this` may be gone when the decoder returns: the input is the thread's, and this a copy.
  const AudioOptions options = audio_of(input);
  const InputPlace place = input.place();
  // Something else may be wanted of the same file.
  const int channel = input.channel.value_or(0);
  const bool remembers = input.segment || channel > 0;
  std::string identity;
  set_active(decoding, true);
  if (remembers) {
    identity = identity_of(place, channel);
    set_active(decoding, true, identity);  // the file system may have hung
    if (const std::exception_ptr known = failed_.find(identity)) {
      set_active(decoding, false);
      std::rethrow_exception(known);
    }
  }
  Decoded decoded;
  std::exception_ptr failure;
  bool has_begun = false;
  try {
    // Opened once: an output says which bytes it is of, whatever comes to lie at the path.
    const auto file = opener.open(place, [&] { set_active(decoding, true, identity); });
    decoded.waveform = how(file, options, [&] {
      has_begun = true;
      set_active(decoding, true, identity);
    });
    // What was just decoded is in memory.
    decoded.input = identify_input(file, [&] { set_active(decoding, true, identity); });
  } catch (const GivenUp&) {
    throw;
  } catch (...) {
    failure = std::current_exception();
  }
  set_active(decoding, false);
  // What cannot be opened costs nothing to try again.
  if (failure && has_begun) failed_.add(identity, failure);
  if (failure) std::rethrow_exception(failure);
  decoded.place = place;
  decoded.channel = channel;
  decoded.identity = identity;
  return decoded;
}

Waveform ClipReader::load(ClipInput& input, Decoded& decoded, InputOpener& opener,
                          Decoding& decoding) const {
  const std::string& path = input.path;
  const auto& segment = input.segment;
  if (input.waveform) {
    decoded.place = {};
    decoded.input = {};
    return load_samples(std::move(*input.waveform), request_.audio, path);
  }
  if (!segment) {
    Decoded whole = decode(input, opener, decoding, &load_audio);
    decoded.place = {};
    decoded.input = std::move(whole.input);
    const std::int64_t samples = whole.waveform.source_samples;
    decoded.input.part = FilePart{0, samples, samples, whole.waveform.source_sample_rate_hz};
    return std::move(whole.waveform);
  }
  const int channel = input.channel.value_or(0);
  const bool is_decoded = decoded.place.path == path && decoded.channel == channel;
  if (!is_decoded || !is_in_place(decoded, decoding)) {
    decoded.place = {};
    decoded = decode(input, opener, decoding, &decode_audio);
  }
  Waveform cut =
      cut_audio(decoded.waveform, segment->offset_seconds, segment->duration_seconds, path);
  const int rate = decoded.waveform.sample_rate_hz;
  const auto begin = static_cast<std::int64_t>(std::floor(segment->offset_seconds * rate));
  decoded.input.segment = segment;
  decoded.input.part = FilePart{begin, begin + static_cast<std::int64_t>(cut.samples.size()),
                                static_cast<std::int64_t>(decoded.waveform.samples.size()), rate};
  return resample_audio(std::move(cut), request_.audio, path);
}

ReadClip ClipReader::read(ClipInput& input, const SeamlessM4TFeatureExtractor& extractor,
                          Decoded& decoded, InputOpener& opener, Decoding& decoding) const {
  const at::NoGradGuard no_grad;
  ReadClip clip;
  Stopwatch watch;
  const Waveform waveform = load(input, decoded, opener, decoding);
  clip.read_seconds = watch.seconds();
  clip.samples = static_cast<std::int64_t>(waveform.samples.size());
  clip.sample_rate_hz = waveform.sample_rate_hz;
  clip.source_sample_rate_hz = waveform.source_sample_rate_hz;
  clip.source_channels = waveform.source_channels;
  clip.input = decoded.input;
  clip.note = waveform.note;
  watch = Stopwatch();
  clip.features = features_of(waveform, extractor, input.path, request_.windows);
  clip.feature_seconds = watch.seconds();
  return clip;
}

}  // namespace w2vbert::tool
