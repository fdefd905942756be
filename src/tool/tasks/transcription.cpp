#include "tool/tasks/transcription.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <climits>
#include <cmath>
#include <exception>
#include <memory>
#include <span>
#include <utility>
#include <vector>

#include "checkpoint/missing_weights.h"
#include "core/file.h"
#include "core/stopwatch.h"
#include "core/text.h"
#include "engine/device/device_copies.h"
#include "tool/run/batch_runner.h"
#include "tool/run/batch_workers.h"
#include "tool/run/clip_reader.h"
#include "w2vbert/checkpoint/from_pretrained.h"
#include "w2vbert/checkpoint/model_directory.h"
#include "w2vbert/core/error.h"
#include "w2vbert/models/wav2vec2_bert_for_ctc.h"

namespace w2vbert::tool {
namespace {

// Seconds of audio in a batch: enough for the products to be fast.
constexpr double kTranscriptionBatchSeconds = 60;
constexpr const char* kVocabularyFile = "vocab.json";

}  // namespace

Transcription::Transcription(ModelRequest request) : request_(std::move(request)) {
  const ModelDirectory model = resolve_model(request_.model, request_.revision);
  directory_ = model.path;
  const std::string config_path = join_path(directory_, "config.json");
  config_ = load_config(request_, directory_);
  if (!config_.vocab_size) {
    throw ConfigError(config_path, "vocab_size", "is null",
                      "the size of the vocabulary of a Wav2Vec2BertForCTC");
  }
  engine_ = choose_engine(request_, config_);
  features_ = load_features(config_, directory_);
  tokenizer_ = Wav2Vec2CTCTokenizer::from_pretrained(tokenizer_directory(), request_.hf_version);
  tokenizer_.check_vocab_size(*config_.vocab_size);
  warnings_.insert(warnings_.end(), tokenizer_.warnings.begin(), tokenizer_.warnings.end());
  const std::int64_t blank = tokenizer_.pad_token_id();
  if (config_.pad_token_id != blank) {
    warnings_.push_back(quote_bytes(config_path) + ": pad_token_id is " +
                        (config_.pad_token_id ? std::to_string(*config_.pad_token_id) : "null") +
                        ", the tokenizer's pad_token " + in_quotes(tokenizer_.pad_token) + " is " +
                        std::to_string(blank) +
                        ": the tokenizer's is taken for the blank, as transformers does");
  }
}

// PEFT's users save the tokenizer beside the adapter whose head it belongs to.
std::string Transcription::tokenizer_directory() {
  std::string directory = directory_;
  if (!request_.lora.empty()) {
    const std::string adapter = resolve_adapter(request_.lora).path;
    if (exists(join_path(adapter, kVocabularyFile))) directory = adapter;
  }
  for (const char* const file : {kVocabularyFile, "tokenizer_config.json"}) {
    check_link(join_path(directory, file));
  }
  const std::string of_model = join_path(directory_, kVocabularyFile);
  if (directory != directory_ && exists(of_model)) {
    warnings_.push_back(quote_bytes(of_model) + " is not used: the adapter has its own, " +
                        quote_bytes(join_path(directory, kVocabularyFile)));
  }
  return directory;
}

double Transcription::seconds_of(std::int64_t frames) const {
  double input_frames = static_cast<double>(frames);
  if (config_.add_adapter) {
    input_frames *= std::pow(static_cast<double>(config_.adapter_stride),
                             static_cast<double>(config_.num_adapter_layers));
  }
  return input_frames / features_.frame_rate_hz();
}

std::int64_t Transcription::batch_frames() const {
  if (engine_.kind != EngineKind::device) return features_.frames_of(kTranscriptionBatchSeconds);
  return frames_on_devices(request_, config_, features_,
                           {.dtype = dtype_of(request_.precision),
                            .output_dtype = c10::ScalarType::Long,  // a token of a frame at most
                            .at_once = batches_at_once(engine_)});
}

std::vector<TimedWord> Transcription::timed_words(const Wav2Vec2CTCTokenizer::Output& output,
                                                  double audio_seconds) const {
  std::vector<TimedWord> words;
  for (const auto& word : output.word_offsets) {
    // The last frame may stand for more than is left of the audio.
    const auto time_of = [&](std::int64_t frames) {
      return std::min(seconds_of(frames), audio_seconds);
    };
    words.push_back({word.text, time_of(word.start_offset), time_of(word.end_offset)});
  }
  return words;
}

std::vector<Transcription::Function> Transcription::load(
    LoadReport* report, const std::function<bool()>& interrupt_asked) const {
  return load_on_devices<Function>(request_, engine_, report,
                                   [&](const ModelRequest& request, LoadReport* of_first) {
                                     return function(load_on(request, of_first, interrupt_asked));
                                   });
}

Transcription::Loaded Transcription::load_engine(
    LoadReport* report, const std::function<bool()>& interrupt_asked) const {
  return load_on(request_, report, interrupt_asked);
}

Transcription::Loaded Transcription::load_on(const ModelRequest& request, LoadReport* report,
                                             const std::function<bool()>& interrupt_asked) const {
  auto loaded = load_model<Wav2Vec2BertForCTC>(request, engine_, directory_);
  Linear lm_head = loaded.model->lm_head;
  std::shared_ptr<Engine> engine = make_engine(engine_, loaded.model->wav2vec2_bert);
  engine->interrupt_when(interrupt_asked);
  if (report) *report = std::move(loaded.report);
  return {std::move(engine), std::move(lm_head)};
}

Transcription::Function Transcription::function(const Loaded& loaded) const {
  return [engine = loaded.engine, lm_head = loaded.lm_head,
          tokenizer = tokenizer_](const std::vector<EngineClip>& clips) mutable {
    const at::NoGradGuard no_grad;
    std::vector<at::Tensor> tokens;  // of each clip (T')
    for (const ClipStates& clip : engine->compute(clips, {StateId::last_hidden_state()})) {
      const at::Tensor rows = clip.states.front().to(lm_head->weight.scalar_type()).unsqueeze(0);
      const at::Tensor logits = lm_head(rows)[0];  // (1, T', E) -> (T', V)
      tokens.push_back(logits.argmax(-1));
    }
    std::vector<Wav2Vec2CTCTokenizer::Output> outputs;
    for (const at::Tensor& ids : download(tokens)) {
      outputs.push_back(tokenizer.decode(
          std::span(ids.const_data_ptr<std::int64_t>(), static_cast<std::size_t>(ids.numel()))));
    }
    return outputs;
  };
}

TranscriptionSummary transcribe(const InputList& inputs, const TranscriptionRequest& request,
                                const Transcription& transcription,
                                const std::function<std::vector<Transcription::Function>()>& load,
                                const TranscriptionEvents& events) {
  TranscriptionSummary summary;
  const auto failed = [&](const ClipFailure& failure, std::optional<std::size_t> index = {}) {
    ++summary.failed;
    events.failed(failure, index);
  };
  std::vector<std::size_t> pending;
  for (std::size_t i = 0; i < inputs.size(); ++i) {
    if (request.partition.holds(inputs.name(i))) pending.push_back(i);
  }
  const std::vector<ClipFailure> bad_rows = bad_rows_of(inputs, request.partition);
  events.planned(pending.size() + bad_rows.size());
  ClipRunRequest reading;
  reading.audio = request.audio;
  reading.features = transcription.features();
  reading.read_timeout_seconds = request.read_timeout_seconds;
  const std::int64_t batch_frames = transcription.batch_frames();
  const auto clips = static_cast<int>(std::clamp<std::size_t>(pending.size(), 1, INT_MAX));
  ClipReader reader(inputs, pending, reading, std::min(request.reading_threads, clips),
                    2 * batch_frames * transcription.functions(), ClipOrder::as_listed);
  const std::vector<Transcription::Function> functions = load();
  for (const ClipFailure& row : bad_rows) failed(row);
  const Stopwatch watch;
  const BatchesRun run = run_batches<Wav2Vec2CTCTokenizer::Output>(
      functions, batch_frames, reader,
      [&] {
        summary.stopped = events.stop_requested();
        return summary.stopped;
      },
      [&](const ReadClip& clip, const char* stage, const std::exception_ptr& failure) {
        failed(failure_of(inputs.path(clip.index), stage, failure), clip.index);
        return true;
      },
      [&](const ReadClip& read, BatchRunner<Wav2Vec2CTCTokenizer::Output>::Result result) {
        ClipText clip;
        clip.index = read.index;
        clip.path = inputs.path(read.index);
        const auto segment = inputs.segment(read.index);
        if (segment && segment->has_offset) clip.segment = segment;
        clip.channel = inputs.channel(read.index);
        clip.source_channels = read.source_channels;
        clip.note = read.note;
        clip.audio_seconds = read.audio_seconds();
        clip.text = std::move(result.output.text);
        clip.words = transcription.timed_words(result.output, clip.audio_seconds);
        ++summary.done;
        summary.audio_seconds += clip.audio_seconds;
        events.finished(clip);
      },
      [] {});
  if (run.interrupted) summary.stopped = true;
  summary.elapsed_seconds = watch.seconds();
  summary.hanging_readers = reader.hanging();
  return summary;
}

}  // namespace w2vbert::tool
