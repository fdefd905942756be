#include "tool/tasks/transcription.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <array>
#include <span>
#include <utility>

#include "core/file.h"
#include "core/text.h"
#include "tool/store/sha256.h"
#include "w2vbert/checkpoint/lora.h"
#include "w2vbert/checkpoint/model_directory.h"
#include "w2vbert/core/error.h"

namespace w2vbert::tool {
namespace {

constexpr const char* kVocabularyFile = "vocab.json";
constexpr std::array kTokenizerFiles = {kVocabularyFile, "tokenizer_config.json",
                                        "special_tokens_map.json", "added_tokens.json"};

at::Tensor best_ids(const at::Tensor& logits) { return logits.argmax(-1); }  // (T', V) -> (T')
at::Tensor in_float32(const at::Tensor& logits) { return logits.to(at::kFloat); }

}  // namespace

Transcription::Transcription(const ModelRequest& request, const TranscriptionOptions& options)
    : model_(request, Head::ctc),
      windows_(model_.windows(options.chunk_seconds, options.stride_seconds)) {
  const std::string config_path = join_path(model_.directory(), "config.json");
  const Wav2Vec2BertConfig& config = model_.config();
  if (!config.vocab_size) {
    throw ConfigError(config_path, "vocab_size", "is null",
                      "the size of the vocabulary of a Wav2Vec2BertForCTC");
  }
  const std::string directory = tokenizer_directory();
  for (const char* const file : kTokenizerFiles) files_.push_back(join_path(directory, file));
  if (options.beam) {
    for (std::string& path : decoder_files(*options.beam, model_.directory())) {
      files_.push_back(std::move(path));
    }
  }
  for (const std::string& path : files_) watched_.add(path);
  tokenizer_ = Wav2Vec2CTCTokenizer::from_pretrained(directory, request.hf_version);
  tokenizer_.check_vocab_size(*config.vocab_size);
  warnings_.insert(warnings_.end(), tokenizer_.warnings.begin(), tokenizer_.warnings.end());
  const std::int64_t blank = tokenizer_.pad_token_id();
  if (config.pad_token_id != blank) {
    warnings_.push_back(quote_bytes(config_path) + ": pad_token_id is " +
                        (config.pad_token_id ? std::to_string(*config.pad_token_id) : "null") +
                        ", the tokenizer's pad_token " + in_quotes(tokenizer_.pad_token) + " is " +
                        std::to_string(blank) +
                        ": the tokenizer's is taken for the blank, as transformers does");
  }
  if (options.beam) {
    search_ = search_options(*options.beam);
    n_best_ = options.beam->n_best;
    decoder_ = make_decoder(*options.beam, model_.directory(), tokenizer_, *config.vocab_size);
    if (!decoder_->language_model()) {
      warnings_.emplace_back("the beam search has no language model");
    }
  }
}

// PEFT's users save the tokenizer beside the adapter whose head it belongs to.
std::string Transcription::tokenizer_directory() {
  std::string directory = model_.directory();
  if (!model_.request().lora.empty()) {
    const std::string adapter = resolve_adapter(model_.request().lora).path;
    if (exists(join_path(adapter, kVocabularyFile))) directory = adapter;
  }
  for (const char* const file : {kVocabularyFile, "tokenizer_config.json"}) {
    check_link(join_path(directory, file));
  }
  const std::string of_model = join_path(model_.directory(), kVocabularyFile);
  if (directory != model_.directory() && exists(of_model)) {
    warnings_.push_back(quote_bytes(of_model) + " is not used: the adapter has its own, " +
                        quote_bytes(join_path(directory, kVocabularyFile)));
  }
  return directory;
}

std::vector<TimedText> Transcription::timed_words(const Wav2Vec2CTCTokenizer::Output& output,
                                                  double audio_seconds) const {
  return timed(output.word_offsets, audio_seconds);
}

std::vector<TimedText> Transcription::timed(std::span<const Wav2Vec2CTCTokenizer::Span> spans,
                                            double audio_seconds) const {
  std::vector<TimedText> texts;
  for (const auto& span : spans) {
    texts.push_back(timed_word(span.text, span.start_offset, span.end_offset, audio_seconds));
  }
  return texts;
}

TimedText Transcription::timed_word(const std::string& word, std::int64_t start_frame,
                                    std::int64_t end_frame, double audio_seconds) const {
  // The last frame may stand for more than is left of the audio.
  const auto time_of = [&](std::int64_t frames) {
    return std::min(model_.seconds_of(std::max<std::int64_t>(frames, 0)), audio_seconds);
  };
  return {word, time_of(start_frame), time_of(end_frame)};
}

HeadModel::Reduction Transcription::reduction() const { return decoder_ ? in_float32 : best_ids; }

FingerprintFields Transcription::fingerprint_fields() const {
  FingerprintFields fields = {{"decoding_files", files_identity(files_)},
                              {"hf_version", name_of(model_.request().hf_version)}};
  watched_.check();
  if (!decoder_) return fields;
  fields.emplace_back("decoder", "beam");
  if (const auto& language_model = decoder_->language_model()) {
    fields.emplace_back("alpha", number_text(language_model->settings.alpha));
    fields.emplace_back("beta", number_text(language_model->settings.beta));
  }
  fields.emplace_back("beam_width", std::to_string(search_.beam_width));
  fields.emplace_back("texts", std::to_string(n_best_));
  if (search_.hotwords.empty()) return fields;
  Sha256 sha;
  for (const std::string& hotword : search_.hotwords) sha.add(hotword + "\n");
  fields.emplace_back("hotwords", sha.hex());
  fields.emplace_back("hotword_weight", number_text(search_.hotword_weight));
  return fields;
}

std::vector<AnswerFunction> Transcription::load(
    LoadReport* report, const std::function<bool()>& interrupt_asked) const {
  return model_.load(windows_, reduction(), report, interrupt_asked);
}

AnswerFunction Transcription::function(const HeadModel::Loaded& loaded) const {
  return model_.function(loaded, windows_, reduction());
}

Wav2Vec2CTCTokenizer::Output Transcription::decode(const WindowTensors& ids,
                                                   std::int64_t samples) const {
  const at::Tensor kept = kept_of_windows(ids, windows_, samples, model_.samples_per_row());
  return tokenizer_.decode(
      std::span(kept.const_data_ptr<std::int64_t>(), static_cast<std::size_t>(kept.numel())));
}

ClipText Transcription::search(const AnsweredClip& clip, const WindowTensors& logits) const {
  const at::Tensor kept =
      kept_of_windows(logits, windows_, clip.samples, model_.samples_per_row()).contiguous();
  auto hypotheses = decoder_->decode(
      std::span(kept.const_data_ptr<float>(), static_cast<std::size_t>(kept.numel())), search_);
  hypotheses.resize(std::min(hypotheses.size(), n_best_));
  ClipText text{clip, "", {}, {}};
  for (BeamHypothesis& hypothesis : hypotheses) {
    ScoredText& scored = text.n_best.emplace_back();
    for (const BeamHypothesis::Word& word : hypothesis.words) {
      scored.words.push_back(
          timed_word(word.text, word.start_frame, word.end_frame, clip.audio_seconds));
    }
    scored.text = std::move(hypothesis.text);
    scored.logit_score = hypothesis.logit_score;
    scored.lm_score = hypothesis.lm_score;
  }
  text.text = text.n_best.front().text;
  text.words = text.n_best.front().words;
  return text;
}

ClipText Transcription::text_of(const AnsweredClip& clip, const WindowTensors& answers) const {
  if (decoder_) return search(clip, answers);
  Wav2Vec2CTCTokenizer::Output output = decode(answers, clip.samples);
  std::vector<TimedText> words = timed_words(output, clip.audio_seconds);
  return {clip, std::move(output.text), std::move(words), {}};
}

}  // namespace w2vbert::tool
