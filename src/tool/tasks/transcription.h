// Audio files -> text, with a Wav2Vec2BertForCTC and the tokenizer of its directory.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "tool/corpus/input_list.h"
#include "tool/corpus/partition.h"
#include "tool/store/run_directory.h"
#include "tool/tasks/model_request.h"
#include "w2vbert/audio/audio_file.h"
#include "w2vbert/checkpoint/load.h"
#include "w2vbert/config/seamless_m4t_feature_extractor_config.h"
#include "w2vbert/config/wav2vec2_bert_config.h"
#include "w2vbert/config/wav2vec2_ctc_tokenizer.h"
#include "w2vbert/engine/engine.h"
#include "w2vbert/nn/linear.h"

namespace w2vbert::tool {

// A word and when it was said, in seconds from the clip's start.
struct TimedWord {
  std::string word;
  double start = 0;
  double end = 0;
};

struct ClipText {
  std::size_t index = 0;  // into the input list
  std::string path;
  std::optional<InputSegment> segment;  // of the file; times count from its start
  std::optional<int> channel;           // of the file, from 1, where each is a clip of its own
  int source_channels = 0;
  std::string note;          // Waveform::note
  double audio_seconds = 0;  // after resampling
  std::string text;
  std::vector<TimedWord> words;
};

// What is transcribed, and how it is read.
struct TranscriptionRequest {
  Partition partition;
  AudioOptions audio;
  int reading_threads = 1;
  double read_timeout_seconds = 60;
};

struct TranscriptionEvents {
  // How many inputs there are to do, before the first.
  std::function<void(std::size_t inputs)> planned = [](std::size_t) {};
  std::function<void(const ClipText&)> finished = [](const ClipText&) {};
  // `index`: into the input list; nothing for a row that names no input.
  std::function<void(const ClipFailure&, std::optional<std::size_t> index)> failed =
      [](const ClipFailure&, std::optional<std::size_t>) {};
  // Asked between two batches; true ends the work.
  std::function<bool()> stop_requested = [] { return false; };
};

struct TranscriptionSummary {
  std::size_t done = 0;
  std::size_t failed = 0;
  double audio_seconds = 0;    // of the clips done
  double elapsed_seconds = 0;  // from the first clip's start, without loading the model
  bool stopped = false;        // by stop_requested
  int hanging_readers = 0;     // threads that were left in a decoder
};

class Transcription {
 public:
  // Reads configs and the tokenizer, no weights. Throws ConfigError, CheckpointError, UsageError.
  explicit Transcription(ModelRequest request);

  const SeamlessM4TFeatureExtractorConfig& features() const noexcept { return features_; }
  const EngineChoice& engine() const noexcept { return engine_; }
  c10::Device device() const noexcept { return request_.device; }  // the first
  // How many functions load() gives, which run at the same time.
  std::int64_t functions() const noexcept { return request_.devices() * batches_at_once(engine_); }
  // Frames of a batch.
  std::int64_t batch_frames() const;
  const std::vector<std::string>& warnings() const noexcept { return warnings_; }
  // How much audio an output frame of the model stands for. HF: inputs_to_logits_ratio over the
  // sampling rate, for the models that have one.
  double seconds_of(std::int64_t frames) const;

  // Greedy decoding: for each clip the text that HF's processor.batch_decode gives for the argmax
  // of the logits of the clip alone, whatever else is in the batch. HF: every output frame counts,
  // also one of padding.
  using Function = std::function<std::vector<Wav2Vec2CTCTokenizer::Output>(
      const std::vector<EngineClip>& clips)>;
  // Loads the weights. `report`, when not null, gets what loading found. The functions, one or more
  // for each device, throw Interrupted soon after `interrupt_asked` has become true.
  std::vector<Function> load(LoadReport* report = nullptr,
                             const std::function<bool()>& interrupt_asked = {}) const;
  // In two steps, for the first device: what is loaded, which other functions may share, and a
  // function of it.
  struct Loaded {
    std::shared_ptr<Engine> engine;
    Linear lm_head;
  };
  Loaded load_engine(LoadReport* report, const std::function<bool()>& interrupt_asked) const;
  Function function(const Loaded& loaded) const;

  // The words of a clip's output, which end with the audio.
  std::vector<TimedWord> timed_words(const Wav2Vec2CTCTokenizer::Output& output,
                                     double audio_seconds) const;

 private:
  std::string tokenizer_directory();
  Loaded load_on(const ModelRequest& request, LoadReport* report,
                 const std::function<bool()>& interrupt_asked) const;

  ModelRequest request_;
  std::string directory_;
  Wav2Vec2BertConfig config_;
  SeamlessM4TFeatureExtractorConfig features_;
  EngineChoice engine_;
  Wav2Vec2CTCTokenizer tokenizer_;
  std::vector<std::string> warnings_;
};

// Transcribes the inputs of the partition, a minute of audio at a time, and reports each in the
// list's order; one that cannot be read or computed is reported when that is known. `load` makes
// the functions, while another thread reads the first clips. Throws what ends a run: what `load`
// throws, CheckpointError, DeviceError.
TranscriptionSummary transcribe(const InputList& inputs, const TranscriptionRequest& request,
                                const Transcription& transcription,
                                const std::function<std::vector<Transcription::Function>()>& load,
                                const TranscriptionEvents& events);

}  // namespace w2vbert::tool
