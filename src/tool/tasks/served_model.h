// A model that is loaded once and asked for different things: states, features, text.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "checkpoint/safetensors_writer.h"
#include "tool/corpus/worker_request.h"
#include "tool/tasks/extraction.h"
#include "tool/tasks/model_request.h"
#include "tool/tasks/transcription.h"
#include "w2vbert/checkpoint/load.h"

namespace w2vbert::tool {

// What is made of one clip.
struct MadeOfClip {
  NamedTensors tensors = {};  // of states and features, on the CPU
  Wav2Vec2CTCTokenizer::Output text = {};
  std::string note = {};  // ClipTensors::note
};

// How a weighted sum of states is made, where one is asked for: as ExtractionOptions has it.
struct SumWeights {
  std::string state_weights = {};
  bool softmax = true;
};

class ServedModel {
 public:
  using Function = std::function<std::vector<MadeOfClip>(const std::vector<EngineClip>&)>;

  // Reads configs and the tokenizer, no weights but those of sums. A Wav2Vec2BertForCTC whose
  // tokenizer is not there gives no text. Throws ConfigError, CheckpointError, UsageError.
  explicit ServedModel(const ModelRequest& request, const SumWeights& weights = {});

  const SeamlessM4TFeatureExtractorConfig& features() const noexcept {
    return extraction_.features();
  }
  const EngineChoice& engine() const noexcept { return extraction_.engine(); }
  c10::Device device() const noexcept { return extraction_.device(); }
  const std::vector<std::string>& warnings() const noexcept { return warnings_; }
  // As Extraction::batch_frames, for last_hidden_state.
  std::int64_t batch_frames(std::optional<double> seconds) const {
    return extraction_.batch_frames(seconds);
  }
  // The words of a clip's text.
  std::vector<TimedText> timed_words(const Wav2Vec2CTCTokenizer::Output& text,
                                     double audio_seconds) const;

  // Loads the weights, once. `interrupt_asked` as Extraction::load.
  void load(LoadReport* report, const std::function<bool()>& interrupt_asked);

  struct Choice {
    Function function;
    std::int64_t batch_frames = 1;  // that may go through it together
  };
  // What gives that of clips. `batch_seconds` as Extraction::batch_frames. What a clip gives on a
  // CPU does not depend on the others, and the states are those that Extraction gives. To be called
  // behind load(). Throws UsageError where the model does not have it.
  Choice choose(WorkerRequest::Want want, const std::string& states,
                std::optional<double> batch_seconds) const;

 private:
  Extraction extraction_;
  std::optional<Transcription> transcription_;
  std::string why_no_text_;
  std::vector<std::string> warnings_;
  std::shared_ptr<Engine> engine_;
  std::optional<HeadModel::Loaded> loaded_;  // with transcription_
};

}  // namespace w2vbert::tool
