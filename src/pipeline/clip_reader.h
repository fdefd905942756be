// Reads clips ahead of the model, in threads of its own.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <string>
#include <thread>
#include <vector>

#include "bounded_queue.h"
#include "w2vbert/pipeline/clip_run.h"

namespace w2vbert {

struct ReadClip {
  std::size_t index = 0;  // into the input list
  EngineClip features;
  std::int64_t samples = 0;
  int sample_rate_hz = 0;
  int source_sample_rate_hz = 0;
  int source_channels = 0;
  double read_seconds = 0;
  double feature_seconds = 0;
  std::exception_ptr failure;  // the other fields but the index mean nothing then

  std::int64_t frames() const { return failure ? 0 : features.input_features.size(0); }
};

class ClipReader {
 public:
  // `pending`: indices into `inputs`, which are read in their order by `threads` threads. All
  // arguments outlive the reader. As many clips wait as have `frames_ahead` frames, and one more
  // for each thread.
  ClipReader(const InputList& inputs, const std::vector<std::size_t>& pending,
             const ClipRunRequest& request, int threads, std::int64_t frames_ahead);
  ~ClipReader();
  ClipReader(const ClipReader&) = delete;
  ClipReader& operator=(const ClipReader&) = delete;

  // Waits for one clip and takes what else is there, up to `most_frames` in all. Empty: no more.
  std::vector<ReadClip> next_batch(std::int64_t most_frames);

 private:
  // The file that a thread decoded last: a manifest may ask for many parts of one.
  struct Decoded {
    std::string path;
    Waveform waveform;
  };

  void work();
  ReadClip read(std::size_t index, const SeamlessM4TFeatureExtractor& extractor,
                Decoded& decoded) const;
  Waveform load(std::size_t index, Decoded& decoded) const;

  const InputList& inputs_;
  const std::vector<std::size_t>& pending_;
  const ClipRunRequest& request_;
  BoundedQueue<ReadClip> ready_;
  std::atomic<std::size_t> next_{0};
  std::atomic<std::size_t> threads_left_;
  std::vector<std::thread> threads_;  // last: they use the members above
};

}  // namespace w2vbert
