#include "w2vbert/pipeline/transcription.h"

#include <ATen/ATen.h>

#include <cmath>
#include <memory>
#include <numeric>
#include <optional>
#include <span>
#include <utility>

#include "clip_reader.h"
#include "stopwatch.h"
#include "w2vbert/checkpoint/from_pretrained.h"
#include "w2vbert/checkpoint/model_directory.h"
#include "w2vbert/core/error.h"
#include "w2vbert/core/file.h"
#include "w2vbert/core/text.h"
#include "w2vbert/models/wav2vec2_bert_for_ctc.h"
#include "w2vbert/pipeline/failure.h"

namespace w2vbert {
namespace {

constexpr std::int64_t kSamplesPerFilterBankFrame = 160;  // whatever the sampling rate
// A batch takes clips until it has one of these. Enough for the products to be fast; the rows of
// the longest of such batches take less memory than one clip of ten minutes.
constexpr std::size_t kMaxBatchClips = 16;
constexpr double kMaxBatchSeconds = 120;

struct Batch {
  std::vector<EngineClip> clips;
  std::vector<ClipText> texts;  // of the same clips, with what is known of them before
  double seconds = 0;

  bool is_full() const { return clips.size() >= kMaxBatchClips || seconds >= kMaxBatchSeconds; }
};

class Run {
 public:
  Run(const Transcription& transcription, const TranscriptionEvents& events)
      : transcription_(transcription), events_(events) {}

  const TranscriptionSummary& summary() const { return summary_; }
  TranscriptionSummary& summary() { return summary_; }

  // Runs `work` and reports what goes wrong with that clip alone; whether nothing did.
  template <typename Work>
  bool guard(const std::string& path, const char* stage, const Work& work, bool report = true) {
    std::optional<ClipFailure> failure;
    try {
      work();
      return true;
    } catch (const StorageError&) {
      throw;
    } catch (const CheckpointError&) {  // weights that are read as they are needed
      throw;
    } catch (const c10::AcceleratorError& error) {
      throw DeviceError("", "", "the device is lost: " + one_line(error));
    } catch (...) {
      const Description description = describe(std::current_exception(), path);
      failure = {path, stage, description.kind, description.message};
    }
    if (report) {  // outside the handler, which may hold the clip's memory
      ++summary_.failed;
      events_.failed(*failure);
    }
    return false;
  }

  void finish(const Transcription::Function& function, Batch batch) {
    if (batch.clips.empty()) return;
    std::vector<Wav2Vec2CTCTokenizer::Output> outputs;
    const bool alone = batch.clips.size() == 1;
    if (guard(
            batch.texts.front().path, "model", [&] { outputs = function(batch.clips); }, alone)) {
      for (std::size_t i = 0; i < outputs.size(); ++i) report(batch.texts[i], outputs[i]);
      return;
    }
    if (alone) return;
    // Something that one of them may be to blame for, or too little memory for all at a time.
    for (std::size_t i = 0; i < batch.clips.size(); ++i) {
      Batch single;
      single.clips.push_back(std::move(batch.clips[i]));
      single.texts.push_back(std::move(batch.texts[i]));
      finish(function, std::move(single));
    }
  }

 private:
  void report(ClipText& clip, const Wav2Vec2CTCTokenizer::Output& output) {
    clip.text = output.text;
    for (const auto& word : output.word_offsets) {
      clip.words.push_back({word.text, transcription_.seconds_of(word.start_offset),
                            transcription_.seconds_of(word.end_offset)});
    }
    ++summary_.done;
    summary_.audio_seconds += clip.audio_seconds;
    events_.finished(clip);
  }

  const Transcription& transcription_;
  const TranscriptionEvents& events_;
  TranscriptionSummary summary_;
};

}  // namespace

Transcription::Transcription(ModelRequest request) : request_(std::move(request)) {
  const ModelDirectory model = resolve_model(request_.model);
  directory_ = model.path;
  const std::string config_path = join_path(directory_, "config.json");
  config_ = load_config(request_, directory_);
  if (!config_.vocab_size) {
    throw ConfigError(config_path, "vocab_size", "is null",
                      "the size of the vocabulary of a Wav2Vec2BertForCTC");
  }
  engine_ = choose_engine(request_.engine, config_, request_.device, request_.dtype);
  features_ = load_features(config_, directory_);
  tokenizer_ = Wav2Vec2CTCTokenizer::from_pretrained(directory_);
  tokenizer_.check_vocab_size(*config_.vocab_size);
  warnings_ = tokenizer_.warnings;
  const std::int64_t blank = tokenizer_.pad_token_id();
  if (config_.pad_token_id != blank) {
    warnings_.push_back(quote_bytes(config_path) + ": pad_token_id is " +
                        (config_.pad_token_id ? std::to_string(*config_.pad_token_id) : "null") +
                        ", the tokenizer's pad_token \"" + quote_bytes(tokenizer_.pad_token) +
                        "\" is " + std::to_string(blank) +
                        ": the tokenizer's is taken for the blank, as transformers does");
  }
}

double Transcription::seconds_of(std::int64_t frames) const {
  double samples = static_cast<double>(kSamplesPerFilterBankFrame * features_.stride);
  if (config_.add_adapter) {
    samples *= std::pow(static_cast<double>(config_.adapter_stride),
                        static_cast<double>(config_.num_adapter_layers));
  }
  return static_cast<double>(frames) * samples / static_cast<double>(features_.sampling_rate);
}

Transcription::Function Transcription::load(LoadReport* report) const {
  auto loaded = load_pretrained<Wav2Vec2BertForCTC>(directory_, load_options(request_, engine_));
  Linear lm_head = loaded.model->lm_head;
  const std::shared_ptr<Engine> engine =
      make_engine(engine_, loaded.model->wav2vec2_bert, request_.dtype,
                  weight_reader(loaded.checkpoint, loaded.report));
  if (report) *report = std::move(loaded.report);
  return [engine, lm_head, tokenizer = tokenizer_](const std::vector<EngineClip>& clips) mutable {
    const at::NoGradGuard no_grad;
    std::vector<Wav2Vec2CTCTokenizer::Output> outputs;
    for (const auto& states : engine->states(clips, {Engine::kLastHiddenState})) {
      const at::Tensor rows = states.front().to(lm_head->weight.scalar_type()).unsqueeze(0);
      const at::Tensor logits = lm_head(rows)[0];  // (1, T', E) -> (T', V)
      const at::Tensor ids = logits.argmax(-1).cpu();
      outputs.push_back(tokenizer.decode(
          std::span(ids.const_data_ptr<std::int64_t>(), static_cast<std::size_t>(ids.numel()))));
    }
    return outputs;
  };
}

TranscriptionSummary transcribe(const InputList& inputs, const AudioOptions& audio,
                                const Transcription& transcription,
                                const std::function<Transcription::Function()>& load,
                                const TranscriptionEvents& events) {
  std::vector<std::size_t> pending(inputs.size());
  std::iota(pending.begin(), pending.end(), 0);
  ClipRunRequest reading;
  reading.audio = audio;
  reading.features = transcription.features();
  ClipReader reader(inputs, pending, reading);
  const Transcription::Function function = load();
  const Stopwatch watch;
  Run run(transcription, events);
  Batch batch;
  for (const std::size_t index : pending) {
    ReadClip clip = reader.next();
    const std::string path = inputs.path(index);
    const bool is_read = run.guard(path, "read", [&] {
      if (clip.failure) std::rethrow_exception(clip.failure);
    });
    if (!is_read) continue;
    ClipText text;
    text.path = path;
    text.audio_seconds = static_cast<double>(clip.samples) / clip.sample_rate_hz;
    batch.seconds += text.audio_seconds;
    batch.clips.push_back(std::move(clip.features));
    batch.texts.push_back(std::move(text));
    if (batch.is_full()) run.finish(function, std::exchange(batch, {}));
  }
  run.finish(function, std::move(batch));
  run.summary().elapsed_seconds = watch.seconds();
  return run.summary();
}

}  // namespace w2vbert
