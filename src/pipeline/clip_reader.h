// Reads clips ahead of the model, in a thread of its own.
#pragma once

#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <exception>
#include <mutex>
#include <thread>
#include <vector>

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
  std::exception_ptr failure;  // the other fields mean nothing then
};

class ClipReader {
 public:
  // `pending`: indices into `inputs`, in the order in which next() returns them. All arguments outlive
  // the reader.
  ClipReader(const InputList& inputs, const std::vector<std::size_t>& pending,
             const ClipRunRequest& request);
  ~ClipReader();
  ClipReader(const ClipReader&) = delete;
  ClipReader& operator=(const ClipReader&) = delete;

  // Waits for the next clip. To be called once for each entry of `pending`.
  ReadClip next();

 private:
  void work();
  ReadClip read(std::size_t index) const;

  const InputList& inputs_;
  const std::vector<std::size_t>& pending_;
  const ClipRunRequest& request_;
  SeamlessM4TFeatureExtractor extractor_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<ReadClip> ready_;
  bool stopping_ = false;
  std::thread thread_;  // last: it uses the members above
};

}  // namespace w2vbert
