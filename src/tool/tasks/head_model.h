// A model of one of HF's classes with a head, and what that gives for clips.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "tool/run/answer_run.h"
#include "tool/run/windows.h"
#include "tool/store/fingerprint.h"
#include "tool/tasks/model_identity.h"
#include "tool/tasks/model_request.h"
#include "tool/tasks/pooling.h"
#include "w2vbert/checkpoint/load.h"
#include "w2vbert/config/seamless_m4t_feature_extractor_config.h"
#include "w2vbert/config/wav2vec2_bert_config.h"
#include "w2vbert/engine/engine.h"

namespace w2vbert::tool {

enum class Head {
  ctc,
  sequence_classification,
  audio_frame_classification,
  xvector,
  pooling,  // of the states of any model
};

// The head of the class that config.json names, Head::pooling for one without a head, and where no
// class is named.
Head head_of(const Wav2Vec2BertConfig& config);
// HF's class with that head; of Head::pooling the class without one.
const char* class_of(Head head);

struct PooledStates {
  Pooling pooling = Pooling::mean;
  std::optional<std::int64_t> state;  // number among hidden_states; else last_hidden_state
};

class HeadModel {
 public:
  // Reads the config and the feature extractor's settings, no weights. Throws ConfigError,
  // CheckpointError, UsageError; ConfigError also where config.json names a class with another
  // head, with the command that runs that.
  HeadModel(ModelRequest request, Head head, const PooledStates& pooled = {});

  const ModelRequest& request() const noexcept { return request_; }
  const std::string& directory() const noexcept { return directory_; }
  const Wav2Vec2BertConfig& config() const noexcept { return config_; }
  const SeamlessM4TFeatureExtractorConfig& features() const noexcept { return features_; }
  const EngineChoice& engine() const noexcept { return engine_; }
  c10::Device device() const noexcept { return request_.device; }  // the first
  // How many functions load() gives, which run at the same time.
  std::int64_t functions() const noexcept { return request_.devices() * batches_at_once(engine_); }
  // Frames of a batch.
  std::int64_t batch_frames() const;
  // How much audio an output frame of the model stands for. HF: inputs_to_logits_ratio over the
  // sampling rate, for the models that have one.
  double seconds_of(std::int64_t frames) const;
  double frames_per_second() const {
    return static_cast<double>(features_.sampling_rate) / samples_per_row();
  }
  // HF: inputs_to_logits_ratio.
  double samples_per_row() const;
  // Windows of so many seconds, of which `stride_seconds` at either end are not kept, in HF's
  // rounding to rows; 0 for the whole clip. Throws UsageError.
  Windows windows(double chunk_seconds, double stride_seconds) const;

  // What the answers of `command` depend on: `own`, what is its own, stands behind the model. Reads
  // every byte of the model. load() throws CheckpointError where that is another one by then.
  Fingerprint fingerprint(const char* command, const FingerprintFields& own,
                          const AudioOptions& audio) const;

  // What is made on the device of what the head gives for one window, before it is copied to the
  // CPU: logits (T', V) of CTC, (num_labels), (T, num_labels), or an embedding (E).
  using Reduction = std::function<at::Tensor(const at::Tensor&)>;

  // Loads the weights. `report`, when not null, gets what loading found. The functions, one or more
  // for each device, throw Interrupted soon after `interrupt_asked` has become true, and RangeError
  // where the head gives NaN or infinity, which nothing can be made of. What a window gives on a
  // CPU is what HF's class gives for it alone.
  std::vector<AnswerFunction> load(const Windows& windows, const Reduction& reduction,
                                   LoadReport* report = nullptr,
                                   const std::function<bool()>& interrupt_asked = {}) const;
  // In two steps, for the first device: what is loaded, which other functions may share, and a
  // function of it.
  struct Loaded {
    std::shared_ptr<Engine> engine;
    std::vector<StateId> states;  // that the head wants
    Head kind = Head::pooling;
    // states of one clip (T, C) and its mask (T) or undefined -> what Reduction takes
    std::function<at::Tensor(const std::vector<at::Tensor>&, const at::Tensor&)> head;
  };
  Loaded load_engine(LoadReport* report, const std::function<bool()>& interrupt_asked) const;
  AnswerFunction function(const Loaded& loaded, const Windows& windows,
                          const Reduction& reduction) const;

 private:
  Loaded load_on(const ModelRequest& request, LoadReport* report,
                 const std::function<bool()>& interrupt_asked) const;
  Loaded load_pooling(const ModelRequest& request, LoadReport* report) const;
  template <class Holder>
  Loaded load_as(const ModelRequest& request, LoadReport* report) const;

  ModelRequest request_;
  Head head_;
  PooledStates pooled_;  // for Head::pooling
  std::string directory_;
  Wav2Vec2BertConfig config_;
  SeamlessM4TFeatureExtractorConfig features_;
  EngineChoice engine_;
  std::vector<std::string> weight_files_;
  WatchedFiles watched_;
};

// What has to be finite for a head's output to say something (finite_values.h): the maximum of each
// row of logits, so that -infinity may stand for what is never said; each value of an embedding.
at::Tensor deciding_values(const at::Tensor& output, Head head);
const char* name_of_output(Head head);  // logits, embeddings
// Throws RangeError for `finite`, one bool or several, of which one is false.
void check_finite(const at::Tensor& finite, const char* output, Precision precision);

// What is kept of one window's rows: (T') or (T', N) -> (T'') or (T'', N).
at::Tensor kept_of_window(const at::Tensor& rows, const Window& window, double samples_per_row);

// What is kept of the windows of a clip of `samples` samples, one behind the other: a clip that is
// whole as it is.
at::Tensor kept_of_windows(const WindowTensors& of_windows, const Windows& windows,
                           std::int64_t samples, double samples_per_row);

}  // namespace w2vbert::tool
