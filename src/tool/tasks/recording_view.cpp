#include "tool/tasks/recording_view.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>
#include <span>
#include <utility>

#include "features/mel_scale.h"
#include "tool/run/clip_reader.h"
#include "tool/tasks/finite_values.h"
#include "w2vbert/features/seamless_m4t_feature_extractor.h"

namespace w2vbert::tool {

// Tensors on the CPU.
struct RecordingViewer::Chunk {
  Window window;             // in samples
  at::Tensor log_mel;        // (fbank frames, num_mel_bins)
  at::Tensor energies;       // (T, L + 1)
  at::Tensor finite_states;  // (L + 1) bool
  at::Tensor ids;            // (T') int64, of CTC
  at::Tensor probabilities;  // (T') of those ids
  at::Tensor scores;         // (T, num_labels) of frames, or (num_labels)
  at::Tensor embedding;      // (E)
  bool has_answer = true;    // else there are none of the last four
};

namespace {

double samples_per_frame(const SeamlessM4TFeatureExtractorConfig& features) {
  return static_cast<double>(SeamlessM4TFeatureExtractorConfig::kHopLength * features.stride);
}

// The filter bank's middles, in Hz.
std::vector<int> middles_of_mels(const SeamlessM4TFeatureExtractorConfig& features) {
  const std::vector<double> edges = mel_edges(features);
  std::vector<int> middles;
  for (std::size_t i = 1; i + 1 < edges.size(); ++i) {
    middles.push_back(static_cast<int>(std::lround(mel_to_hertz(edges[i]))));
  }
  return middles;
}

// (T, stride * num_mel_bins) -> (fbank frames, num_mel_bins), without those that are padding.
at::Tensor fbank_frames_of(const at::Tensor& input_features, const Window& window,
                           const SeamlessM4TFeatureExtractorConfig& features) {
  const std::int64_t there =
      SeamlessM4TFeatureExtractorConfig::fbank_frames_of(window.end - window.begin);
  const Kept kept = kept_rows(window, input_features.size(0), samples_per_frame(features));
  const std::int64_t end = std::min(kept.end * features.stride, there);
  const std::int64_t begin = std::min(kept.begin * features.stride, end);
  return input_features.reshape({-1, features.num_mel_bins}).narrow(0, begin, end - begin);
}

// The mean probability of the frames in [begin, end).
double mean_of(const at::Tensor& probabilities, std::int64_t begin, std::int64_t end) {
  return probabilities.slice(0, begin, end).mean().item<double>();
}

}  // namespace

RecordingViewer::RecordingViewer(const ModelRequest& request, std::optional<Head> head) {
  if (!head) head = head_of(HeadModel(request, Head::pooling).config());
  head_ = *head;
  if (head_ == Head::ctc) {
    transcription_.emplace(request);
  } else {
    model_.emplace(request, head_);
  }
}

std::vector<std::string> RecordingViewer::warnings() const {
  return transcription_ ? transcription_->warnings() : std::vector<std::string>();
}

void RecordingViewer::load(LoadReport* report) { loaded_ = model().load_engine(report, {}); }

RecordingViewer::Chunk RecordingViewer::compute(
    const Waveform& part, const Window& window, const std::string& path,
    const SeamlessM4TFeatureExtractor& extractor) const {
  const Wav2Vec2BertConfig& config = model().config();
  const SeamlessM4TFeatureExtractorConfig& features = model().features();
  const EngineClip clip = features_of(part, extractor, path);
  std::vector<StateId> wanted;
  for (std::int64_t n = 0; n <= config.num_hidden_layers; ++n) wanted.emplace_back(n);
  const std::size_t encoder_states = wanted.size();
  if (head_ != Head::pooling) {
    wanted.insert(wanted.end(), loaded_.states.begin(), loaded_.states.end());
  }
  std::vector<at::Tensor> states = loaded_.engine->compute({clip}, wanted).front().states;

  const double frame = samples_per_frame(features);
  Chunk chunk;
  chunk.window = window;
  chunk.log_mel = fbank_frames_of(clip.input_features, window, features);
  std::vector<at::Tensor> energies, extremes;
  for (std::size_t n = 0; n < encoder_states; ++n) {
    extremes.push_back(extremes_of(states[n]));
    energies.push_back(states[n].to(at::kFloat).square().mean(-1).sqrt());  // (T, C) -> (T)
  }
  chunk.energies = kept_of_window(at::stack(energies, 1).cpu(), window, frame);
  chunk.finite_states = are_finite(at::stack(extremes).cpu());
  if (head_ == Head::pooling) return chunk;

  states.erase(states.begin(), states.begin() + static_cast<std::ptrdiff_t>(encoder_states));
  const at::Tensor output = loaded_.head(states, clip.attention_mask);
  chunk.has_answer = are_finite(extremes_of(deciding_values(output, head_)).cpu()).item<bool>();
  if (!chunk.has_answer) return chunk;
  switch (head_) {
    case Head::ctc: {
      // HF takes the greatest logit; softmax may round two of them to one value.
      const at::Tensor ids = output.argmax(-1);  // (T', V) -> (T')
      const at::Tensor probabilities = output.to(at::kFloat).softmax(-1).amax(-1);  // -> (T')
      chunk.ids = kept_of_window(ids.cpu(), window, model().samples_per_row());
      chunk.probabilities = kept_of_window(probabilities.cpu(), window, model().samples_per_row());
      break;
    }
    case Head::audio_frame_classification:
      chunk.scores = kept_of_window(scores_of(output, usual_segmentation(config).function).cpu(),
                                    window, model().samples_per_row());
      break;
    case Head::sequence_classification:
      chunk.scores = scores_of(output, score_function_of(config)).cpu();
      break;
    default:
      chunk.embedding = output.to(at::kFloat).cpu();
  }
  return chunk;
}

RecordingView RecordingViewer::view(
    const Waveform& waveform, const std::string& path, const Windows& windows,
    const std::function<void(std::size_t done, std::size_t all)>& progress) {
  const at::NoGradGuard no_grad;
  const Wav2Vec2BertConfig& config = model().config();
  const SeamlessM4TFeatureExtractorConfig& features = model().features();
  const double rate = waveform.sample_rate_hz;
  RecordingView view;
  view.seconds = static_cast<double>(waveform.samples.size()) / rate;
  const std::vector<Window> cut = windows_of(static_cast<std::int64_t>(waveform.samples.size()),
                                             windows, SeamlessM4TFeatureExtractor::kMinSamples);
  view.chunks = cut.size();
  const SeamlessM4TFeatureExtractor extractor(features);
  std::vector<Chunk> chunks;
  for (const Window& window : cut) {
    progress(chunks.size(), cut.size());
    if (cut.size() == 1) {
      chunks.push_back(compute(waveform, window, path, extractor));
      continue;
    }
    Waveform part;
    part.samples.assign(waveform.samples.begin() + window.begin,
                        waveform.samples.begin() + window.end);
    part.sample_rate_hz = waveform.sample_rate_hz;
    chunks.push_back(compute(part, window, path, extractor));
  }
  progress(cut.size(), cut.size());

  view.waveform = peaks_of(waveform.samples, waveform.sample_rate_hz, kMaxPeakColumns);
  view.mels = middles_of_mels(features);
  std::vector<at::Tensor> log_mel, energies, finite_states;
  for (Chunk& chunk : chunks) {
    log_mel.push_back(std::move(chunk.log_mel));
    energies.push_back(std::move(chunk.energies));
    finite_states.push_back(std::move(chunk.finite_states));
  }
  const double frame = samples_per_frame(features);
  view.log_mel = grid_of(at::cat(log_mel).t(), SeamlessM4TFeatureExtractorConfig::kHopLength / rate,
                         kMaxPictureColumns);
  view.energies = grid_of(at::cat(energies).t(), frame / rate, kMaxPictureColumns);
  if (const at::Tensor odd = at::stack(finite_states).all(0).logical_not().nonzero();
      odd.size(0) > 0) {
    view.notes.push_back("the model gives NaN or infinity in " + std::to_string(odd.size(0)) +
                         (odd.size(0) == 1 ? " state: " : " states, the first of them ") +
                         std::to_string(odd[0][0].item<std::int64_t>()));
  }
  if (!std::all_of(chunks.begin(), chunks.end(), [](const Chunk& c) { return c.has_answer; })) {
    view.notes.push_back("no answer: " + std::string(name_of_output(head_)) +
                         " hold NaN or infinity");
    return view;
  }
  switch (head_) {
    case Head::ctc:
      add_words(view, chunks);
      break;
    case Head::audio_frame_classification:
      add_segments(view, chunks);
      break;
    case Head::pooling:
      break;
    default:
      for (const Chunk& chunk : chunks) {
        PartAnswer& part = view.parts.emplace_back();
        part.start = static_cast<double>(chunk.window.begin + chunk.window.left) / rate;
        part.end = static_cast<double>(chunk.window.end - chunk.window.right) / rate;
        if (chunk.scores.defined()) {
          part.labels = highest_labels(chunk.scores, config, kMaxPartLabels);
        } else {
          part.embedding_norm = chunk.embedding.norm().item<double>();
          view.embedding_size = chunk.embedding.size(0);
        }
      }
  }
  return view;
}

void RecordingViewer::add_words(RecordingView& view, const std::vector<Chunk>& chunks) const {
  std::vector<at::Tensor> ids, probabilities;
  for (const Chunk& chunk : chunks) {
    ids.push_back(chunk.ids);
    probabilities.push_back(chunk.probabilities);
  }
  const at::Tensor best = at::cat(ids).contiguous(), likely = at::cat(probabilities);
  const Wav2Vec2CTCTokenizer::Output output = transcription_->tokenizer().decode(
      std::span(best.const_data_ptr<std::int64_t>(), static_cast<std::size_t>(best.numel())));
  view.has_words = true;
  view.text = output.text;
  view.words = transcription_->timed(output.word_offsets, view.seconds);
  view.characters = transcription_->timed(output.char_offsets, view.seconds);
  for (std::size_t i = 0; i < view.characters.size(); ++i) {
    const auto& span = output.char_offsets[i];
    view.characters[i].score = mean_of(likely, span.start_offset, span.end_offset);
  }
  // The mean over the frames of a word's characters: blanks between them do not count.
  std::size_t next = 0;
  for (std::size_t i = 0; i < view.words.size(); ++i) {
    const auto& word = output.word_offsets[i];
    double sum = 0;
    std::int64_t frames = 0;
    for (; next < output.char_offsets.size(); ++next) {
      const auto& span = output.char_offsets[next];
      if (span.start_offset >= word.end_offset) break;
      if (span.start_offset < word.start_offset) continue;
      const std::int64_t count = span.end_offset - span.start_offset;
      sum += *view.characters[next].score * static_cast<double>(count);
      frames += count;
    }
    if (frames > 0) view.words[i].score = sum / static_cast<double>(frames);
  }
}

void RecordingViewer::add_segments(RecordingView& view, const std::vector<Chunk>& chunks) const {
  const Wav2Vec2BertConfig& config = model().config();
  std::vector<at::Tensor> parts;
  for (const Chunk& chunk : chunks) parts.push_back(chunk.scores);
  const at::Tensor scores = at::cat(parts);  // (T, num_labels)
  view.segments = segments_of(scores, config, usual_segmentation(config),
                              model().frames_per_second(), view.seconds);
  view.num_labels = scores.size(1);
  // Those that are likely somewhere, in the model's order.
  at::Tensor shown = at::arange(view.num_labels);
  if (view.num_labels > kMaxCurves) {
    shown = std::get<0>(std::get<1>(scores.mean(0).topk(kMaxCurves)).sort());
  }
  for (std::int64_t i = 0; i < shown.size(0); ++i) {
    view.curve_labels.push_back(label_of(config, shown[i].item<std::int64_t>()));
  }
  view.curves =
      grid_of(scores.index_select(1, shown).t(), model().seconds_of(1), kMaxPictureColumns);
}

}  // namespace w2vbert::tool
