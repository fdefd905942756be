// Requests, one after the other, through a model that stays loaded (`w2vbert worker`).
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "checkpoint/safetensors_writer.h"
#include "core/stopwatch.h"
#include "tool/run/request_source.h"
#include "tool/store/run_directory.h"
#include "tool/tasks/served_model.h"
#include "w2vbert/audio/audio_file.h"

namespace w2vbert::tool {

// The answer to one request.
struct WorkerAnswer {
  AcceptedRequest asked = {};
  // What went wrong; the other members mean nothing then.
  std::optional<ClipFailure> failure = {};
  std::int64_t frames = 0;   // rows of input_features
  double audio_seconds = 0;  // after resampling
  std::string note = {};     // Waveform::note
  // States and features: what was written to the file that was asked for, or is to be told.
  NamedTensors tensors = {};
  // Text.
  std::string text = {};
  std::vector<TimedText> words = {};
};

struct WorkerOptions {
  AudioOptions audio;
  int reading_threads = 1;
  double read_timeout_seconds = 60;
  std::optional<double> batch_seconds;  // as Extraction::batch_frames
  // A clip that takes long to be read holds the later ones up, so that few answers wait for earlier
  // ones.
  bool in_order = true;
};

struct WorkerEvents {
  // Loads the model, while the first clips are read.
  std::function<void()> load;
  // Gets each request's answer, on any thread; several at once.
  std::function<void(WorkerAnswer)> answered;
  // True ends the work: what the model has begun may still take some seconds, all else that has
  // come in is answered as interrupted.
  std::function<bool()> stop_requested = [] { return false; };
};

struct WorkerSummary {
  std::size_t done = 0;
  std::size_t failed = 0;
  double audio_seconds = 0;    // of the clips done
  double elapsed_seconds = 0;  // without loading the model
  int hanging_readers = 0;     // threads that were left in a decoder
};

// Answers all that `source` gives, until its end. A file is written whole and durably or not at
// all, and never over another one: an equal file counts as written. Throws what ends the work:
// what `load` throws, CheckpointError, DeviceError, StorageError where the requests cannot be read.
WorkerSummary serve(const std::shared_ptr<RequestSource>& source, const ServedModel& model,
                    const WorkerOptions& options, const WorkerEvents& events);

// Whether the model may still be asked to end what it has begun: false for the first seconds of a
// stop, so that a short batch is finished. To be called several times a second.
class StopGrace {
 public:
  explicit StopGrace(std::function<bool()> stop_requested);
  bool is_over();

 private:
  std::function<bool()> stop_requested_;
  std::optional<Stopwatch> since_stop_;
};

}  // namespace w2vbert::tool
