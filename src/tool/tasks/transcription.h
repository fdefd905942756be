// Audio files -> text, with a Wav2Vec2BertForCTC and the tokenizer of its directory.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "tool/run/answer_run.h"
#include "tool/run/windows.h"
#include "tool/tasks/head_model.h"
#include "tool/tasks/model_request.h"
#include "w2vbert/checkpoint/load.h"
#include "w2vbert/config/wav2vec2_ctc_tokenizer.h"

namespace w2vbert::tool {

// A word and when it was said, in seconds from the clip's start.
struct TimedWord {
  std::string word;
  double start = 0;
  double end = 0;
};

struct ClipText {
  AnsweredClip clip;
  std::string text;
  std::vector<TimedWord> words;
};

// How audio that is longer than `chunk_seconds` is cut, as HeadModel::windows does; 0: not at all.
struct TranscriptionOptions {
  double chunk_seconds = 0;
  double stride_seconds = 0;
};

class Transcription {
 public:
  // Reads configs and the tokenizer, no weights. Throws ConfigError, CheckpointError, UsageError.
  explicit Transcription(const ModelRequest& request, const TranscriptionOptions& options = {});

  const HeadModel& model() const noexcept { return model_; }
  const Windows& windows() const noexcept { return windows_; }
  const Wav2Vec2CTCTokenizer& tokenizer() const noexcept { return tokenizer_; }
  const std::vector<std::string>& warnings() const noexcept { return warnings_; }

  // Loads the weights, as HeadModel::load. The functions give token ids, (T') long for each window:
  // greedy decoding.
  std::vector<AnswerFunction> load(LoadReport* report = nullptr,
                                   const std::function<bool()>& interrupt_asked = {}) const;
  AnswerFunction function(const HeadModel::Loaded& loaded) const;

  // What HF's processor.batch_decode gives for the argmax of the logits of the clip alone, whatever
  // else is in the batch; of a clip in windows the text of its pipeline. HF: every output frame
  // counts, also one of padding. Throws ConfigError as Wav2Vec2CTCTokenizer::decode.
  Wav2Vec2CTCTokenizer::Output decode(const WindowTensors& ids, std::int64_t samples) const;
  // The words of a clip's output, which end with the audio.
  std::vector<TimedWord> timed_words(const Wav2Vec2CTCTokenizer::Output& output,
                                     double audio_seconds) const;
  ClipText text_of(const AnsweredClip& clip, const WindowTensors& ids) const;

 private:
  std::string tokenizer_directory();

  HeadModel model_;
  Windows windows_;
  Wav2Vec2CTCTokenizer tokenizer_;
  std::vector<std::string> warnings_;
};

}  // namespace w2vbert::tool
