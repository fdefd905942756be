// A model that turns clips into hidden states, found and checked before its weights are read.
//
// The room `tasks` is what the program does with a model, one header each: extraction (here),
// transcription.h, forward.h, inspection.h and benchmark.h. model_request.h says which model is
// asked for and how it is to run, model_identity.h tells two models apart, preset.h holds the
// recipes of known projects. Read model_request.h first, then this header.
#pragma once

#include <algorithm>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "tool/run/chunking.h"
#include "tool/run/clip_run.h"
#include "tool/store/fingerprint.h"
#include "tool/tasks/audio_choice.h"
#include "tool/tasks/chunked_states.h"
#include "tool/tasks/kmeans.h"
#include "tool/tasks/model_identity.h"
#include "tool/tasks/model_request.h"
#include "tool/tasks/pooling.h"
#include "tool/tasks/preset.h"
#include "tool/tasks/state_output.h"
#include "tool/tasks/state_weights.h"
#include "w2vbert/audio/audio_file.h"
#include "w2vbert/checkpoint/load.h"
#include "w2vbert/config/seamless_m4t_feature_extractor_config.h"
#include "w2vbert/config/wav2vec2_bert_config.h"
#include "w2vbert/engine/engine.h"

namespace w2vbert::tool {

// HF's feature extractor settings: of a model, or the class's defaults for "".
SeamlessM4TFeatureExtractorConfig feature_settings(const std::string& model,
                                                   const std::string& revision = "");

// What runs depend on: of any command; of how audio is read; of how a model computes.
Fingerprint fingerprint_of(const char* command);
void add_audio(Fingerprint& fingerprint, const AudioOptions& audio);
// `lora_identity`: of the adapter (model_identity.h), or "".
void add_computation(Fingerprint& fingerprint, const ModelRequest& request,
                     const EngineChoice& engine, const Wav2Vec2BertConfig& config,
                     const std::string& lora_identity);
// What a run of features depends on.
Fingerprint features_fingerprint(const SeamlessM4TFeatureExtractorConfig& features,
                                 const AudioOptions& audio);

// What is made of the clips.
struct ExtractionOptions {
  std::string states;         // as parse_states takes them, or "" for last_hidden_state
  std::string state_weights;  // a file as StateWeights takes it, of a weighted sum, or ""
  bool softmax = true;        // whether its softmax weights
  std::string stats;          // a safetensors file with mean and var (C), or ""
  // Long clips go through the model in chunks of so many seconds, which overlap; 0: whole.
  double chunk_seconds = 0;
  double overlap_seconds = 0;
  std::optional<c10::ScalarType>
      output_dtype;                // of the states in the files; default: the precision's
  std::optional<RowPooling> pool;  // default: the preset's, else none
  std::string kmeans;        // a .npy file of centres, whose numbers are written instead, or ""
  bool dedup_units = false;  // runs of equal units as one, with their lengths
  std::string preset;        // a name of presets(), whose steps are followed, or ""
  // Whether fingerprint() will be asked for, for which every byte of the model is read.
  bool fingerprint = true;
};

// The options with what they imply: a file of weights asks for the weighted sum of all states where
// it says nothing of states. Throws UsageError for weights without a sum.
ExtractionOptions with_weighted_sum(ExtractionOptions options);

// How much chunks overlap where nobody says it.
inline constexpr double kOverlapSeconds = 2;
inline double default_overlap_seconds(double chunk_seconds) {
  return std::min(kOverlapSeconds, chunk_seconds / 4);
}

class Extraction {
 public:
  // Reads configs, headers and statistics, no weights. Throws ConfigError, CheckpointError,
  // UsageError.
  Extraction(ModelRequest request, const ExtractionOptions& options);

  const Wav2Vec2BertConfig& config() const noexcept { return config_; }
  const SeamlessM4TFeatureExtractorConfig& features() const noexcept { return features_; }
  const EngineChoice& engine() const noexcept { return engine_; }
  c10::Device device() const noexcept { return request_.device; }  // the first
  // How many functions load() gives, which run at the same time.
  std::int64_t functions() const noexcept { return request_.devices() * batches_at_once(engine_); }
  // Tensors of states in each output, and their type in the files.
  std::size_t states() const noexcept { return outputs_.size(); }
  c10::ScalarType output_dtype() const;
  // Names of the tensors in an output: the states in ascending order, or units, and attention_mask;
  // or units and counts.
  std::vector<std::string> tensor_names() const;
  std::vector<std::int64_t> row_bytes() const;  // of each of them
  // Only with ExtractionOptions::fingerprint.
  Fingerprint fingerprint(const AudioOptions& audio) const;

  // Loads the weights. A function's tensors are named as StateOutput::name says, (T, C) in
  // output_dtype, else in the precision's (what HF returns), whatever the
  // statistics have, or units (T) int64 of such a state; and attention_mask (T) int64. Or, where
  // runs are one, units and counts (U) int64 of all T frames. In one call of the engine there are
  // `batch_frames` frames at most, or one clip or chunk of one. `report`, when not null, gets what
  // loading found. The functions, one or more for each device, throw Interrupted soon after
  // `interrupt_asked` has become true.
  std::vector<BatchFunction> load(std::int64_t batch_frames, LoadReport* report = nullptr,
                                  const std::function<bool()>& interrupt_asked = {}) const;
  // In two steps, for the first device: the engine, which several functions may share, and a
  // function of it.
  std::shared_ptr<Engine> load_engine(LoadReport* report,
                                      const std::function<bool()>& interrupt_asked) const;
  BatchFunction function(std::shared_ptr<Engine> engine, std::int64_t batch_frames) const;
  // Throws CheckpointError where the model's files are no longer those that were looked at.
  void check_unchanged() const { watched_.check(); }
  // The same extraction of other states, for the same engine. Throws UsageError.
  Extraction with_states(const std::string& states) const;

  // Clips of how many frames (rows of input_features) go through the model together: of `seconds`
  // of audio, or of a minute, on a GPU of five minutes, or less where the memory at hand is short.
  // The reference engine gains nothing by batches on a CPU, where it runs one clip after the other,
  // and takes two minutes on a GPU.
  std::int64_t batch_frames(std::optional<double> seconds) const;

 private:
  c10::ScalarType computed_dtype() const;  // what it is without --output-dtype
  void choose_states(const std::string& states);
  void choose_chunks(const ExtractionOptions& options);
  void read_stats(const std::string& path);
  bool is_last_hidden_state() const noexcept {
    return outputs_.front().kind == StateOutput::Kind::last_hidden_state;
  }
  bool has(StateOutput::Kind kind) const noexcept;
  bool has_sums() const noexcept;
  bool is_of_adapter() const noexcept { return is_last_hidden_state() && config_.add_adapter; }
  std::int64_t channels() const noexcept;  // of a state
  ComputeStates compute_states(std::shared_ptr<Engine> engine) const;
  struct Steps;
  std::shared_ptr<Engine> load_on(const ModelRequest& request, LoadReport* report,
                                  const std::function<bool()>& interrupt_asked) const;
  BatchFunction function_on(std::shared_ptr<Engine> engine, c10::Device device,
                            std::int64_t batch_frames) const;

  ModelRequest request_;
  std::string directory_;
  Wav2Vec2BertConfig config_;
  SeamlessM4TFeatureExtractorConfig features_;
  EngineChoice engine_;
  std::vector<StateOutput> outputs_;                   // one at least
  std::shared_ptr<const StateWeights> state_weights_;  // or null
  at::Tensor mean_, var_;                              // (C), undefined without statistics
  std::string stats_digest_;
  Chunking chunking_;
  std::optional<c10::ScalarType> output_dtype_;
  RowPooling pool_;
  std::shared_ptr<const KMeans> kmeans_;  // or null
  bool dedup_units_ = false;
  const Preset* preset_ = nullptr;  // or null
  std::string model_identity_;
  std::string lora_identity_;  // empty without one
  WatchedFiles watched_;       // what the fingerprint is of
};

}  // namespace w2vbert::tool
