#include "tool/tasks/served_model.h"

#include <utility>

#include "w2vbert/core/error.h"

namespace w2vbert::tool {
namespace {

constexpr const char* kCtcClass = "Wav2Vec2BertForCTC";

std::vector<MadeOfClip> features_alone(const std::vector<EngineClip>& clips) {
  std::vector<MadeOfClip> made(clips.size());
  for (std::size_t i = 0; i < clips.size(); ++i) {
    made[i].tensors.emplace_back("input_features", clips[i].input_features);
    if (clips[i].attention_mask.defined()) {
      made[i].tensors.emplace_back("attention_mask", clips[i].attention_mask);
    }
  }
  return made;
}

ExtractionOptions options_of(const SumWeights& weights) {
  ExtractionOptions options;
  options.state_weights = weights.state_weights;
  options.softmax = weights.softmax;
  options.fingerprint = false;
  return options;
}

}  // namespace

ServedModel::ServedModel(const ModelRequest& request, const SumWeights& weights)
    : extraction_(request, options_of(weights)) {
  const std::vector<std::string>& classes = extraction_.config().architectures;
  if (classes.empty() || classes.front() != kCtcClass) {
    why_no_text_ = "the model is no " + std::string(kCtcClass);
    return;
  }
  try {
    transcription_.emplace(request);
    warnings_ = transcription_->warnings();
  } catch (const ConfigError& error) {
    why_no_text_ = error.what();
    warnings_.push_back("no text can be asked for: " + why_no_text_);
  }
}

std::vector<TimedText> ServedModel::timed_words(const Wav2Vec2CTCTokenizer::Output& text,
                                                double audio_seconds) const {
  return transcription_->timed_words(text, audio_seconds);
}

void ServedModel::load(LoadReport* report, const std::function<bool()>& interrupt_asked) {
  if (transcription_) {
    loaded_ = transcription_->model().load_engine(report, interrupt_asked);
    engine_ = loaded_->engine;
    extraction_.check_unchanged();
  } else {
    engine_ = extraction_.load_engine(report, interrupt_asked);
  }
}

ServedModel::Choice ServedModel::choose(WorkerRequest::Want want, const std::string& states,
                                        std::optional<double> batch_seconds) const {
  if (want == WorkerRequest::Want::features) return {features_alone, batch_frames(batch_seconds)};
  if (want == WorkerRequest::Want::text) {
    if (!transcription_) {
      throw UsageError(
          "", "want", "is text, and " + why_no_text_,
          "states or features, or a " + std::string(kCtcClass) + " with its tokenizer");
    }
    return {[ids_of = transcription_->function(*loaded_),
             transcription = *transcription_](const std::vector<EngineClip>& clips) {
              std::vector<MadeOfClip> made;
              for (const WindowTensors& ids : ids_of(clips)) {
                made.push_back({.text = transcription.decode(ids, 0)});  // clips are whole
              }
              return made;
            },
            batch_frames(batch_seconds)};
  }
  const Extraction extraction = extraction_.with_states(states);
  const std::int64_t frames = extraction.batch_frames(batch_seconds);
  return {[states_of = extraction.function(engine_, frames)](const std::vector<EngineClip>& clips) {
            std::vector<ClipTensors> outputs = states_of(clips);
            std::vector<MadeOfClip> made(outputs.size());
            for (std::size_t i = 0; i < outputs.size(); ++i) {
              made[i].tensors = std::move(outputs[i].tensors);
              made[i].note = std::move(outputs[i].note);
            }
            return made;
          },
          frames};
}

}  // namespace w2vbert::tool
