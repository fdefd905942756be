// What `w2vbert view` shows of one recording: the numbers, bounded however long it is.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "tool/formats/timed_text.h"
#include "tool/tasks/classification.h"
#include "tool/tasks/grid.h"
#include "tool/tasks/head_model.h"
#include "tool/tasks/model_request.h"
#include "tool/tasks/segmentation.h"
#include "tool/tasks/transcription.h"
#include "w2vbert/audio/waveform.h"
#include "w2vbert/checkpoint/load.h"
#include "w2vbert/features/seamless_m4t_feature_extractor.h"

namespace w2vbert::tool {

// Columns of a picture: those of two minutes of fbank frames. A longer clip's are means.
inline constexpr std::int64_t kMaxPictureColumns = 12000;
// Columns of the waveform.
inline constexpr std::int64_t kMaxPeakColumns = 24000;
// Labels with a curve of their own; a page of hundreds would show nothing.
inline constexpr std::int64_t kMaxCurves = 16;
// Labels that are told of a part of the clip.
inline constexpr std::int64_t kMaxPartLabels = 10;

// What a head that gives one answer for audio says of a part of the clip: of all of it, or of a
// chunk, in seconds.
struct PartAnswer {
  double start = 0;
  double end = 0;
  std::vector<ScoredLabel> labels;       // of a sequence classifier: the highest first
  std::optional<double> embedding_norm;  // of an x-vector model
};

struct RecordingView {
  double seconds = 0;
  std::size_t chunks = 1;
  // What is NaN or infinite, in words; without answers where that is the head's output.
  std::vector<std::string> notes;

  Grid waveform;          // the least and the greatest sample of each column
  Grid log_mel;           // (num_mel_bins, fbank frames) as the model gets them
  std::vector<int> mels;  // the middle of each bin in Hz, rounded
  // (L + 1, T): the root of the mean square of each state's channels. HF: hidden_states.
  Grid energies;

  // A Wav2Vec2BertForCTC's: greedy decoding, with the mean probability of a word's or a
  // character's frames for a score.
  bool has_words = false;
  std::string text;
  std::vector<TimedText> words, characters;

  // A Wav2Vec2BertForSequenceClassification's and a Wav2Vec2BertForXVector's.
  std::vector<PartAnswer> parts;
  std::int64_t embedding_size = 0;

  // A Wav2Vec2BertForAudioFrameClassification's.
  std::vector<Segment> segments;
  std::vector<std::string> curve_labels;
  Grid curves;                  // (curve_labels, T): scores
  std::int64_t num_labels = 0;  // of the model; there may be fewer curves
};

class RecordingViewer {
 public:
  // `head`: which answer to show besides the states; absent: that of the class that config.json
  // names, Head::pooling for the encoder alone. Reads configs and a tokenizer, no weights. Throws
  // as HeadModel and Transcription do.
  RecordingViewer(const ModelRequest& request, std::optional<Head> head);

  Head head() const noexcept { return head_; }
  const HeadModel& model() const noexcept {
    return transcription_ ? transcription_->model() : *model_;
  }
  std::vector<std::string> warnings() const;
  // As HeadModel::windows.
  Windows windows(double chunk_seconds, double stride_seconds) const {
    return model().windows(chunk_seconds, stride_seconds);
  }

  void load(LoadReport* report);
  // To be called behind load(). `waveform`: as load_audio gives it for the extractor's rate.
  // `progress` gets how many of the chunks are done. Throws AudioError(path) for a clip that is too
  // short, and what the engine throws.
  RecordingView view(const Waveform& waveform, const std::string& path, const Windows& windows,
                     const std::function<void(std::size_t done, std::size_t all)>& progress);

 private:
  // One chunk's, cut to what is kept of it.
  struct Chunk;
  Chunk compute(const Waveform& part, const Window& window, const std::string& path,
                const SeamlessM4TFeatureExtractor& extractor) const;
  void add_words(RecordingView& view, const std::vector<Chunk>& chunks) const;
  void add_segments(RecordingView& view, const std::vector<Chunk>& chunks) const;

  Head head_;
  std::optional<Transcription> transcription_;  // of Head::ctc
  std::optional<HeadModel> model_;              // of the others
  HeadModel::Loaded loaded_;
};

}  // namespace w2vbert::tool
