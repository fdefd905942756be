// Reads clips ahead of the model, in threads of its own.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "core/bounded_queue.h"
#include "core/file.h"
#include "core/stopwatch.h"
#include "tool/corpus/archive.h"
#include "tool/run/clip_run.h"
#include "tool/run/clip_source.h"
#include "tool/store/input_identity.h"

namespace w2vbert::tool {

struct ReadClip {
  std::size_t index = 0;  // into the input list; what the source calls it
  EngineClip features;
  std::int64_t samples = 0;
  int sample_rate_hz = 0;
  int source_sample_rate_hz = 0;
  int source_channels = 0;
  InputIdentity input = {};  // the file that it was read from
  std::string note;          // Waveform::note
  double read_seconds = 0;
  double feature_seconds = 0;
  std::exception_ptr failure;  // the other fields but the index mean nothing then

  std::int64_t frames() const { return failure ? 0 : features.input_features.size(0); }
  double audio_seconds() const { return static_cast<double>(samples) / sample_rate_hz; }
};

// How a clip was read: the report of it, but for its names and what comes after the reading.
ClipReport report_of(const ReadClip& clip);

// Samples that a caller brings, as a file's would be: `path` stands for its path in the AudioError
// where they are longer than the options allow.
Waveform load_samples(Waveform samples, const AudioOptions& audio, const std::string& path);

// What the model gets of one clip: of its windows, one behind the other. `path` is for the
// AudioError that a clip too short for features is.
EngineClip features_of(const Waveform& waveform, const SeamlessM4TFeatureExtractor& extractor,
                       const std::string& path, const Windows& windows = {});

// In which order clips come.
enum class ClipOrder {
  as_read,  // a clip that takes long holds no other one up
  as_listed,
};

class ClipReader {
 public:
  // `pending`: indices into `inputs`, which are read in their order by `threads` threads. All
  // arguments outlive the reader. As many clips wait as have `frames_ahead` frames, and one more
  // for each thread. Throws std::system_error when a thread cannot be started.
  ClipReader(const InputList& inputs, const std::vector<std::size_t>& pending,
             const ClipRunRequest& request, int threads, std::int64_t frames_ahead,
             ClipOrder order = ClipOrder::as_read);
  // The same for what `source` gives, which the reader closes at its end.
  ClipReader(std::shared_ptr<ClipSource> source, const ClipRunRequest& request, int threads,
             std::int64_t frames_ahead, ClipOrder order = ClipOrder::as_read);
  ~ClipReader();
  ClipReader(const ClipReader&) = delete;
  ClipReader& operator=(const ClipReader&) = delete;

  // Waits for one clip and takes what else is there, up to `max_frames` in all. Empty: no more.
  // Throws what ended a thread: a std::system_error where one that hangs could not be replaced.
  std::vector<ReadClip> next_batch(std::int64_t max_frames);

  // Ends the reading: next_batch() gives what is there already, and then nothing. On any thread.
  void close();

  // Threads whose decoder gave nothing for too long: their clip has failed, another thread has
  // taken their place, and they end if their decoder ever returns. The process cannot wait for
  // them.
  int hanging() const { return hanging_; }

 private:
  // The state of one thread. It outlives the reader where the decoder does not return.
  struct Decoding {
    std::mutex mutex;
    bool active = false;    // in the decoder
    bool given_up = false;  // to end, without touching the reader
    std::size_t turn = 0;   // the source's
    std::size_t end = 0;    // of those that are the thread's
    std::string path;       // of its file
    std::string identity;   // of it, where a failure is to be remembered
    Stopwatch since_block;
  };
  class GivenUp {};  // thrown in a thread that must not touch the reader any more
  struct Thread {
    std::thread thread;
    std::shared_ptr<Decoding> decoding;
  };

  // The file that a thread decoded last: a manifest may ask for many parts of one.
  struct Decoded {
    InputPlace place;
    int channel = 0;
    std::string identity;  // of the file, before it was opened
    Waveform waveform;
    InputIdentity input = {};
  };

  // Why files could not be decoded: what else is wanted of them fails for it as well, at once.
  class FailedFiles {
   public:
    // `identity`: of a path and the file that it led to. Null: not known to fail.
    std::exception_ptr find(const std::string& identity);
    void add(const std::string& identity, std::exception_ptr failure);  // unless it is ""

   private:
    std::mutex mutex_;
    std::map<std::string, std::exception_ptr> failures_;
  };

  void start_thread();
  void stop();
  void work(const std::shared_ptr<Decoding>& decoding);
  void read_pending(Decoding& decoding);
  // The next clips for a thread.
  ClipSource::Turns next_turns();
  // False: the reading has been closed.
  bool deliver(ReadClip clip, std::size_t turn);
  void end_with(std::exception_ptr error);
  void watch();
  void give_up_if_hanging(std::size_t thread);
  // Waits until a thread has left its decoder, at the next block: true; false: that hangs.
  bool let_end(Decoding& decoding) const;
  // Says where a thread is, and since when. Throws GivenUp.
  static void set_active(Decoding& decoding, bool active, const std::string& identity = {});
  // Whether the file that was decoded last is still the one at its path.
  static bool is_in_place(const Decoded& decoded, Decoding& decoding);
  // Take the input's waveform.
  ReadClip read(ClipInput& input, const SeamlessM4TFeatureExtractor& extractor, Decoded& decoded,
                InputOpener& opener, Decoding& decoding) const;
  Waveform load(ClipInput& input, Decoded& decoded, InputOpener& opener, Decoding& decoding) const;
  // With `how`, decode_audio or load_audio.
  using Decoder = Waveform (*)(const InputFile&, const AudioOptions&, const std::function<void()>&);
  Decoded decode(const ClipInput& input, InputOpener& opener, Decoding& decoding,
                 Decoder how) const;
  AudioOptions audio_of(const ClipInput& input) const;

  const std::shared_ptr<ClipSource> source_;
  const ClipRunRequest& request_;
  const ClipOrder order_;
  mutable FailedFiles failed_;
  BoundedQueue<ReadClip> ready_;
  std::mutex next_mutex_;  // held while the source is asked, which may wait
  std::mutex left_mutex_;
  std::vector<ClipSource::Turns> left_;  // by threads that were given up
  std::atomic<std::size_t> threads_left_;
  std::atomic<int> hanging_{0};
  std::mutex watching_mutex_;
  std::condition_variable watching_changed_;
  bool watching_ = true;
  std::mutex error_mutex_;
  std::exception_ptr error_;  // that ended a thread
  // Last: they use the members above. The watcher alone changes the readers.
  std::vector<Thread> threads_;
  std::thread watcher_;
};

}  // namespace w2vbert::tool
