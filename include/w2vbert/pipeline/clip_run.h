// Audio files -> features -> some function -> one durable file each.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>

#include "w2vbert/audio/audio_file.h"
#include "w2vbert/checkpoint/safetensors_writer.h"
#include "w2vbert/engine/engine.h"
#include "w2vbert/features/seamless_m4t_feature_extractor.h"
#include "w2vbert/pipeline/input_list.h"
#include "w2vbert/pipeline/run_directory.h"
#include "w2vbert/pipeline/shard.h"

namespace w2vbert {

// From one clip's features to the tensors of its output file, on any device.
using ClipFunction = std::function<NamedTensors(const EngineClip&)>;

struct ClipRunRequest {
  AudioOptions audio;
  SeamlessM4TFeatureExtractorConfig features;
  Shard shard;
  bool verify = false;  // outputs that are there are read whole and compared with their digest
  // Makes the function that the clips go through: loads the model. Called at most once, when there is
  // something to do, while another thread reads the first clip.
  std::function<ClipFunction()> prepare;
  // Asked between two clips; true ends the run.
  std::function<bool()> stop_requested = [] { return false; };
};

struct ClipRunPlan {
  std::size_t inputs = 0;    // in this share
  std::size_t finished = 0;  // done by an earlier run, not touched
  std::size_t damaged = 0;   // to be redone
  std::size_t temporaries = 0;  // of dead processes, removed
  std::size_t to_do() const { return inputs - finished; }
};

struct ClipReport {
  std::string path;
  std::string name;
  std::string output;
  std::int64_t frames = 0;  // rows of input_features
  int source_sample_rate_hz = 0;
  int source_channels = 0;
  double audio_seconds = 0;    // after resampling
  double read_seconds = 0;     // decoding and resampling
  double compute_seconds = 0;  // features and model
  double write_seconds = 0;
};

struct ClipRunEvents {
  std::function<void(const ClipRunPlan&)> planned = [](const ClipRunPlan&) {};
  std::function<void(const ClipReport&)> finished = [](const ClipReport&) {};
  std::function<void(const ClipFailure&)> failed = [](const ClipFailure&) {};
};

struct ClipRunSummary {
  ClipRunPlan plan;
  std::size_t done = 0;
  std::size_t failed = 0;
  double audio_seconds = 0;    // of the clips done
  double elapsed_seconds = 0;  // from the first clip's start, without loading the model
  bool stopped = false;
};

// Does what `inputs` asks for and `directory` does not hold yet, one clip at a time, in the list's
// order. A clip that cannot be read or computed is recorded and left out; nothing is written for it.
// Throws what ends a run: UsageError before any work, ConfigError and CheckpointError from prepare,
// StorageError, DeviceError.
ClipRunSummary run_clips(const InputList& inputs, const ClipRunRequest& request,
                         RunDirectory& directory, const ClipRunEvents& events = {});

// Refuses an output that would take an input's place. Throws UsageError.
void check_no_input_is_an_output(const InputList& inputs, const std::string& output_directory);

}  // namespace w2vbert
