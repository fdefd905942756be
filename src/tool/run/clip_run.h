// Audio files -> features -> some function -> one durable file each.
//
// The room `run` is what moves: threads that read clips (clip_reader.h), the one that runs batches
// through a function (batch_runner.h), and threads that write (output_writer.h), with what goes
// wrong on the way (failure.h) and how long clips are cut into chunks (chunking.h). It knows the
// function that the clips go through, not the model behind it. Read this header first.
//
// Three rates: samples (after resampling); fbank frames, 100 a second, inside the feature
// extractor; and frames, the rows of input_features, 50 a second. Unless something else is said, a
// count of frames is one of rows.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <limits>
#include <string>
#include <vector>

#include "checkpoint/safetensors_writer.h"
#include "tool/corpus/input_list.h"
#include "tool/corpus/partition.h"
#include "tool/run/windows.h"
#include "tool/store/outputs.h"
#include "tool/store/run_directory.h"
#include "w2vbert/audio/audio_file.h"
#include "w2vbert/engine/engine.h"
#include "w2vbert/features/seamless_m4t_feature_extractor.h"

namespace w2vbert::tool {

// What is made of a clip: the tensors of its output file, contiguous and on the CPU, and what the
// user should be told of them, if anything.
struct ClipTensors {
  NamedTensors tensors;
  std::string note;
};

// From the features of some clips to what is made of each. What a clip gives does not depend on the
// others.
using BatchFunction = std::function<std::vector<ClipTensors>(const std::vector<EngineClip>&)>;

struct ClipRunRequest {
  AudioOptions audio;
  SeamlessM4TFeatureExtractorConfig features;
  Windows windows;  // a clip's features are those of its windows, one behind the other
  Partition partition;
  bool verify = false;  // outputs that are there are read whole and compared with their digest
  // Clips go through the function together as long as they have so many frames (rows of
  // input_features); a longer one goes alone.
  std::int64_t batch_frames = 1;
  std::int64_t functions = 1;  // how many prepare() makes
  int reading_threads = 1;
  // A file whose decoder gives nothing for so long fails.
  double read_timeout_seconds = 60;
  // The run ends when more clips than this have failed.
  std::size_t max_failures = std::numeric_limits<std::size_t>::max();
  // Makes the functions that the clips go through, at the same time, on one device or several:
  // loads the model. Called at most once, when there is something to do, while other threads read
  // the first clips.
  std::function<std::vector<BatchFunction>()> prepare;
  // Names of the tensors that the function gives for a clip.
  std::vector<std::string> tensor_names;
  std::vector<std::int64_t> row_bytes;  // of each of them
  // Asked between two batches; true ends the run. The function may throw Interrupted as well.
  std::function<bool()> stop_requested = [] { return false; };
};

struct ClipRunPlan {
  std::size_t inputs = 0;    // in this partition
  std::size_t finished = 0;  // done by an earlier run, not touched
  std::size_t damaged = 0;   // to be redone
  std::size_t replaced = 0;  // to be redone: the output is of an earlier input
  // Among those finished: without a word of which input they are of; whose input cannot be read to
  // tell.
  std::size_t unrecorded = 0;
  std::size_t unreadable = 0;
  std::string first_unreadable;
  bool is_unlocked = false;     // shards are not protected from another process on the same ones
  std::size_t temporaries = 0;  // of dead processes, removed
  std::size_t to_do() const { return inputs - finished; }
};

struct ClipRunEvents {
  std::function<void(const ClipRunPlan&)> planned = [](const ClipRunPlan&) {};
  std::function<void(const ClipReport&)> finished = [](const ClipReport&) {};
  std::function<void(const ClipFailure&)> failed = [](const ClipFailure&) {};
  // What was odd about a file or what was made of it, or lost of it; for each of its clips.
  std::function<void(const std::string& path, const std::string& note)> noted =
      [](const std::string&, const std::string&) {};
};

struct ClipRunSummary {
  ClipRunPlan plan;
  std::size_t done = 0;
  std::size_t failed = 0;
  double audio_seconds = 0;        // of the clips done
  double elapsed_seconds = 0;      // from the first clip's start, without loading the model
  double model_seconds = 0;        // of them, in the function that the clips go through
  bool stopped = false;            // by stop_requested
  bool too_many_failures = false;  // stopped by max_failures
  int hanging_readers = 0;         // threads that were left in a decoder
};

// Does what `inputs` asks for and `directory` does not hold yet: some threads read and make
// features, this one runs the model over what is ready, others write. A clip that cannot be read or
// computed is recorded and left out; nothing is written for it. A batch for which there is no
// memory is halved until it fits, and batches stay smaller for a while. Events are called on this
// thread. Throws what ends a run: UsageError before any work, ConfigError and CheckpointError from
// prepare, StorageError, DeviceError, LockWaitEnded (core/file_lock.h); what was computed before is
// written all the same.
ClipRunSummary run_clips(const InputList& inputs, const ClipRunRequest& request,
                         RunDirectory& directory, const ClipRunEvents& events = {});

// The rows of the list that name no input, of this partition.
std::vector<ClipFailure> bad_rows_of(const InputList& inputs, const Partition& partition);

// Refuses an output that would take an input's place. Throws UsageError.
void check_no_input_is_an_output(const InputList& inputs, const std::string& output_directory);

}  // namespace w2vbert::tool
