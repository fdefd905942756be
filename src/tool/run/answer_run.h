// Audio files -> some function -> an answer for each clip, in the list's order: text, labels,
// segments, an embedding.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "tool/corpus/input_list.h"
#include "tool/corpus/partition.h"
#include "tool/run/windows.h"
#include "tool/store/input_identity.h"
#include "tool/store/run_directory.h"
#include "w2vbert/audio/audio_file.h"
#include "w2vbert/config/seamless_m4t_feature_extractor_config.h"
#include "w2vbert/engine/engine.h"

namespace w2vbert::tool {

// What the function gives for one clip: a tensor on the CPU for each of its windows, one where it
// is whole.
using WindowTensors = std::vector<at::Tensor>;
// A clip's features are those of its windows, one behind the other.
using AnswerFunction =
    std::function<std::vector<WindowTensors>(const std::vector<EngineClip>& clips)>;

struct AnswerRunRequest {
  Partition partition;
  AudioOptions audio;
  SeamlessM4TFeatureExtractorConfig features;
  Windows windows;
  std::int64_t batch_frames = 1;  // as ClipRunRequest has it
  std::int64_t functions = 1;     // how many there will be
  int reading_threads = 1;
  double read_timeout_seconds = 60;
  // Inputs that are not read: they have been answered before.
  std::function<bool(std::size_t index)> is_answered = [](std::size_t) { return false; };
};

// Which clip an answer is of.
struct AnsweredClip {
  std::size_t index = 0;  // into the input list
  std::string path;
  std::optional<InputSegment> segment;  // of the file; times count from its start
  std::optional<int> channel;           // of the file, from 1, where each is a clip of its own
  int source_channels = 0;
  std::string note;          // Waveform::note
  InputIdentity input;       // the file that it was read from
  std::int64_t samples = 0;  // after resampling
  double audio_seconds = 0;  // of them
};

// Makes the answer of a clip, which fails with what that throws; the result tells of the answer.
// Those of a batch are made at the same time, on several threads, and told of one after the other.
using Answering = std::function<std::function<void()>(const AnsweredClip&, const WindowTensors&)>;

struct AnswerEvents {
  // How many inputs there are to do, before the first.
  std::function<void(std::size_t inputs)> planned = [](std::size_t) {};
  // `index`: into the input list; nothing for a row that names no input.
  std::function<void(const ClipFailure&, std::optional<std::size_t> index)> failed =
      [](const ClipFailure&, std::optional<std::size_t>) {};
  // Asked between two batches and, by several threads, before each answer; true ends the work.
  std::function<bool()> stop_requested = [] { return false; };
};

struct AnswerSummary {
  std::size_t done = 0;
  std::size_t failed = 0;
  double audio_seconds = 0;    // of the clips done
  double elapsed_seconds = 0;  // from the first clip's start, without loading the model
  bool stopped = false;        // by stop_requested
  int hanging_readers = 0;     // threads that were left in a decoder
};

// Answers the inputs of the partition and tells of each in the list's order; one that cannot be
// read, computed or answered is told of when that is known. `load` makes the functions, while
// another thread reads the first clips; it is not called without any to read. Throws what ends a
// run: what `load` throws, CheckpointError, DeviceError.
AnswerSummary answer_clips(const InputList& inputs, const AnswerRunRequest& request,
                           const std::function<std::vector<AnswerFunction>()>& load,
                           const Answering& answer, const AnswerEvents& events);

}  // namespace w2vbert::tool
