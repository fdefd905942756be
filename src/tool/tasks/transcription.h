// Audio files -> text, with a Wav2Vec2BertForCTC and the tokenizer of its directory.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "tool/formats/timed_text.h"
#include "tool/run/answer_run.h"
#include "tool/run/windows.h"
#include "tool/store/fingerprint.h"
#include "tool/tasks/beam_decoding.h"
#include "tool/tasks/head_model.h"
#include "tool/tasks/model_identity.h"
#include "tool/tasks/model_request.h"
#include "w2vbert/checkpoint/load.h"
#include "w2vbert/config/wav2vec2_ctc_tokenizer.h"

namespace w2vbert::tool {

// One of several texts that a beam search gives, with pyctcdecode's scores.
struct ScoredText {
  std::string text;
  std::vector<TimedText> words;
  double logit_score = 0;
  double lm_score = 0;
};

struct ClipText {
  AnsweredClip clip;
  std::string text;
  std::vector<TimedText> words;
  std::vector<ScoredText> n_best;  // of a beam search: the best first, which is the text
};

// How audio that is longer than `chunk_seconds` is cut, as HeadModel::windows does; 0: not at all.
struct TranscriptionOptions {
  double chunk_seconds = 0;
  double stride_seconds = 0;
  std::optional<BeamDecoding> beam;  // else greedy decoding
};

class Transcription {
 public:
  // Reads configs and the tokenizer, no weights. Throws ConfigError, CheckpointError, UsageError.
  explicit Transcription(const ModelRequest& request, const TranscriptionOptions& options = {});

  const HeadModel& model() const noexcept { return model_; }
  const Windows& windows() const noexcept { return windows_; }
  const Wav2Vec2CTCTokenizer& tokenizer() const noexcept { return tokenizer_; }
  const std::vector<std::string>& warnings() const noexcept { return warnings_; }

  // What a text depends on beside the model and the windows. Reads every byte of the tokenizer's
  // files and the language model. Throws CheckpointError where one is another one by now.
  FingerprintFields fingerprint_fields() const;

  // Loads the weights, as HeadModel::load. The functions give token ids, (T') long for each window,
  // and for a beam search logits, (T', V) float32.
  std::vector<AnswerFunction> load(LoadReport* report = nullptr,
                                   const std::function<bool()>& interrupt_asked = {}) const;
  AnswerFunction function(const HeadModel::Loaded& loaded) const;

  // What HF's processor.batch_decode gives for the argmax of the logits of the clip alone, whatever
  // else is in the batch; of a clip in windows the text of its pipeline. HF: every output frame
  // counts, also one of padding. Throws ConfigError as Wav2Vec2CTCTokenizer::decode.
  Wav2Vec2CTCTokenizer::Output decode(const WindowTensors& ids, std::int64_t samples) const;
  // The words of a clip's output, which end with the audio.
  std::vector<TimedText> timed_words(const Wav2Vec2CTCTokenizer::Output& output,
                                     double audio_seconds) const;
  // Any spans of it, such as its characters.
  std::vector<TimedText> timed(std::span<const Wav2Vec2CTCTokenizer::Span> spans,
                               double audio_seconds) const;
  // `answers`: what a function gave. Of a beam search the text that HF's Wav2Vec2ProcessorWithLM
  // gives for the logits. Throws as decode(), and UsageError for logits that are not finite.
  ClipText text_of(const AnsweredClip& clip, const WindowTensors& answers) const;

 private:
  std::string tokenizer_directory();
  HeadModel::Reduction reduction() const;
  TimedText timed_word(const std::string& word, std::int64_t start_frame, std::int64_t end_frame,
                       double audio_seconds) const;
  ClipText search(const AnsweredClip& clip, const WindowTensors& logits) const;

  HeadModel model_;
  Windows windows_;
  Wav2Vec2CTCTokenizer tokenizer_;
  std::optional<BeamSearchDecoder> decoder_;
  BeamSearchOptions search_;
  std::size_t n_best_ = 1;
  std::vector<std::string> warnings_;
  std::vector<std::string> files_;  // that decoding depends on
  WatchedFiles watched_;            // the same
};

}  // namespace w2vbert::tool
