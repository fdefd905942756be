// Audio files and what is said in them -> when each word is said.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "tool/formats/timed_text.h"
#include "tool/run/answer_run.h"
#include "tool/tasks/transcription.h"

namespace w2vbert::tool {

// A clip's text in time. A character lasts from its first frame to the end of its last one, a word
// from the begin of its first character to the end of its last one, none longer than the audio. A
// score is the mean probability of its frames, blanks between characters left out, as in
// torchaudio's tutorial of forced alignment.
struct AlignedText {
  std::vector<TimedText> words;
  std::vector<TimedText> characters;  // spaces, too
  std::vector<std::string> unknown;   // characters for which unk_token stands, each once
};

class Alignment {
 public:
  // As Transcription.
  Alignment(const ModelRequest& request, const TranscriptionOptions& options = {});

  const HeadModel& model() const noexcept { return transcription_.model(); }
  const Windows& windows() const noexcept { return transcription_.windows(); }
  const std::vector<std::string>& warnings() const noexcept { return transcription_.warnings(); }

  FingerprintFields fingerprint_fields() const { return transcription_.fingerprint_fields(); }

  // Loads the weights, as HeadModel::load. The functions give logarithms of probabilities, float32
  // (T', V), for each window.
  std::vector<AnswerFunction> load(LoadReport* report = nullptr,
                                   const std::function<bool()>& interrupt_asked = {}) const;

  // The path of forced_align() for the ids of `text`. A space, or a token that takes the spaces
  // beside it, divides words. Throws UsageError: an empty text, one that is no UTF-8, that has the
  // blank or a token that the model does not have, or that is too long for the clip; a model that
  // gives NaN. ConfigError as Wav2Vec2CTCTokenizer::encode.
  AlignedText align(const AnsweredClip& clip, const WindowTensors& log_probs,
                    const std::string& text) const;

 private:
  Transcription transcription_;
};

}  // namespace w2vbert::tool
