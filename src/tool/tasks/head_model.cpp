#include "tool/tasks/head_model.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <type_traits>
#include <utility>

#include "checkpoint/missing_weights.h"
#include "core/file.h"
#include "core/text.h"
#include "engine/device/device_copies.h"
#include "models/head.h"
#include "tool/run/clip_reader.h"
#include "tool/tasks/extraction.h"
#include "tool/tasks/finite_values.h"
#include "w2vbert/checkpoint/from_pretrained.h"
#include "w2vbert/checkpoint/model_directory.h"
#include "w2vbert/core/error.h"
#include "w2vbert/features/seamless_m4t_feature_extractor.h"
#include "w2vbert/models/wav2vec2_bert_for_audio_frame_classification.h"
#include "w2vbert/models/wav2vec2_bert_for_ctc.h"
#include "w2vbert/models/wav2vec2_bert_for_sequence_classification.h"
#include "w2vbert/models/wav2vec2_bert_for_xvector.h"

namespace w2vbert::tool {
namespace {

// Seconds of audio in a batch: enough for the products to be fast.
constexpr double kHeadBatchSeconds = 60;

struct HeadClass {
  const char* name;
  const char* command;
  const char* parameters;  // what the names of some of the head's begin with, which no other has
};
const std::map<Head, HeadClass>& head_classes() {
  static const std::map<Head, HeadClass> classes = {
      {Head::ctc, {"Wav2Vec2BertForCTC", "transcribe", "lm_head."}},
      {Head::sequence_classification,
       {"Wav2Vec2BertForSequenceClassification", "classify", "classifier."}},
      {Head::audio_frame_classification,
       {"Wav2Vec2BertForAudioFrameClassification", "segment", "classifier."}},
      {Head::xvector, {"Wav2Vec2BertForXVector", "embed", "tdnn."}},
  };
  return classes;
}

// The encoder alone, as it is published: neither its checkpoint nor an adapter has the head.
void check_has_head(const ModelRequest& request, const ModelDirectory& model,
                    const Wav2Vec2BertConfig& config, Head head) {
  constexpr const char* kEncoder = "Wav2Vec2BertModel";
  if (config.architectures.empty() || config.architectures.front() != kEncoder) return;
  if (!request.lora.empty() || request.lenient) return;
  const HeadClass& wanted = head_classes().at(head);
  for (const CheckpointTensor& tensor : Checkpoint::open(model.path).tensors()) {
    if (tensor.name.find(wanted.parameters) != std::string::npos) return;
  }
  throw ConfigError(join_path(model.path, "config.json"), "architectures",
                    std::string("is ") + kEncoder + ", which has no head",
                    std::string(wanted.name) + ", or an adapter that brings one (--lora)" +
                        (head == Head::xvector ? ", or --pool mean for its states'" : "") +
                        "; `w2vbert extract` runs a " + kEncoder);
}

// A checkpoint without a head's class may get the head from an adapter, and loading tells what is
// missing.
void check_class(const Wav2Vec2BertConfig& config, const std::string& path, Head head) {
  if (config.architectures.empty()) return;
  const std::string& named = config.architectures.front();
  const HeadClass& wanted = head_classes().at(head);
  if (named == wanted.name) return;
  for (const auto& [other, its] : head_classes()) {
    if (named == its.name) {
      throw ConfigError(
          path, "architectures", "is " + named,
          std::string(wanted.name) + "; `w2vbert " + its.command + "` runs a " + its.name);
    }
  }
}

EngineClip part_of(const EngineClip& clip, std::int64_t begin, std::int64_t rows) {
  EngineClip part;
  part.input_features = clip.input_features.narrow(0, begin, rows);
  if (clip.attention_mask.defined()) {
    part.attention_mask = clip.attention_mask.narrow(0, begin, rows);
  }
  return part;
}

}  // namespace

Head head_of(const Wav2Vec2BertConfig& config) {
  if (config.architectures.empty()) return Head::pooling;
  for (const auto& [head, its] : head_classes()) {
    if (config.architectures.front() == its.name) return head;
  }
  return Head::pooling;
}

const char* class_of(Head head) {
  const auto found = head_classes().find(head);
  return found == head_classes().end() ? "Wav2Vec2BertModel" : found->second.name;
}

HeadModel::HeadModel(ModelRequest request, Head head, const PooledStates& pooled)
    : request_(std::move(request)), head_(head), pooled_(pooled) {
  const ModelDirectory model = resolve_model(request_.model, request_.revision);
  directory_ = model.path;
  weight_files_ = model.weight_files;
  watched_.add_model(directory_, weight_files_);
  if (!request_.lora.empty()) watched_.add_lora(request_.lora);
  config_ = load_config(request_, directory_);
  if (head != Head::pooling) {
    check_class(config_, join_path(directory_, "config.json"), head);
    check_has_head(request_, model, config_, head);
  }
  if (pooled_.state && (*pooled_.state < 0 || *pooled_.state > config_.num_hidden_layers)) {
    throw UsageError("", "state", std::to_string(*pooled_.state) + " is not there",
                     "0 to " + std::to_string(config_.num_hidden_layers), "state");
  }
  engine_ = choose_engine(request_, config_);
  features_ = load_features(config_, directory_);
}

double HeadModel::seconds_of(std::int64_t frames) const {
  double input_frames = static_cast<double>(frames);
  if (config_.add_adapter) {
    input_frames *= std::pow(static_cast<double>(config_.adapter_stride),
                             static_cast<double>(config_.num_adapter_layers));
  }
  return input_frames / features_.frame_rate_hz();
}

double HeadModel::samples_per_row() const {
  double ratio = static_cast<double>(config_.feature_projection_input_dim) * 2;
  if (config_.add_adapter) {
    ratio *= std::pow(static_cast<double>(config_.adapter_stride),
                      static_cast<double>(config_.num_adapter_layers));
  }
  return ratio;
}

Windows HeadModel::windows(double chunk_seconds, double stride_seconds) const {
  Windows windows;
  if (chunk_seconds == 0) return windows;
  // HF: AutomaticSpeechRecognitionPipeline.preprocess, with Python's round().
  const double align_to = samples_per_row();
  const auto aligned = [&](double seconds) {
    const double rows = seconds * static_cast<double>(features_.sampling_rate) / align_to;
    return static_cast<std::int64_t>(std::nearbyint(rows) * align_to);
  };
  windows.samples = aligned(chunk_seconds);
  windows.left = windows.right = aligned(stride_seconds);
  if (windows.samples < SeamlessM4TFeatureExtractor::kMinSamples) {
    throw UsageError("", "chunk_seconds", "is " + number_text(chunk_seconds),
                     "at least " + std::to_string(SeamlessM4TFeatureExtractor::kMinSamples) +
                         " samples at " + std::to_string(features_.sampling_rate) + " Hz",
                     "chunk_seconds");
  }
  if (windows.left + windows.right >= windows.samples) {
    throw UsageError("", "stride_seconds", "is " + number_text(stride_seconds) + " at either end",
                     "less than half of the chunk's " + number_text(chunk_seconds),
                     "stride_seconds");
  }
  return windows;
}

Fingerprint HeadModel::fingerprint(const char* command, const FingerprintFields& own,
                                   const AudioOptions& audio) const {
  Fingerprint fingerprint = fingerprint_of(command);
  auto& fields = fingerprint.fields;
  fields.emplace_back("model", model_identity(directory_, weight_files_));
  fields.insert(fields.end(), own.begin(), own.end());
  const std::string lora = request_.lora.empty() ? "" : lora_identity(request_.lora);
  add_computation(fingerprint, request_, engine_, config_, lora);
  add_audio(fingerprint, audio);
  watched_.check();
  return fingerprint;
}

std::int64_t HeadModel::batch_frames() const {
  if (engine_.kind != EngineKind::device) return features_.frames_of(kHeadBatchSeconds);
  return frames_on_devices(request_, config_, features_,
                           {.dtype = dtype_of(request_.precision),
                            // What stays of a frame is a number or little more.
                            .output_dtype = c10::ScalarType::Long,
                            .at_once = batches_at_once(engine_)});
}

std::vector<AnswerFunction> HeadModel::load(const Windows& windows, const Reduction& reduction,
                                            LoadReport* report,
                                            const std::function<bool()>& interrupt_asked) const {
  std::vector<AnswerFunction> functions = load_on_devices<AnswerFunction>(
      request_, engine_, report, [&](const ModelRequest& request, LoadReport* of_first) {
        return function(load_on(request, of_first, interrupt_asked), windows, reduction);
      });
  watched_.check();
  return functions;
}

HeadModel::Loaded HeadModel::load_engine(LoadReport* report,
                                         const std::function<bool()>& interrupt_asked) const {
  return load_on(request_, report, interrupt_asked);
}

template <class Holder>
HeadModel::Loaded HeadModel::load_as(const ModelRequest& request, LoadReport* report) const {
  auto loaded = load_model<Holder>(request, engine_, directory_);
  Loaded result;
  result.engine = make_engine(engine_, loaded.model->wav2vec2_bert);
  result.states = {StateId::last_hidden_state()};
  at::Tensor layer_weights;
  if constexpr (!std::is_same_v<Holder, Wav2Vec2BertForCTC>) {
    layer_weights = loaded.model->layer_weights;
  }
  if (layer_weights.defined()) {
    result.states.clear();
    for (std::int64_t n = 0; n <= config_.num_hidden_layers; ++n) result.states.emplace_back(n);
  }
  result.head = [model = loaded.model, layer_weights](const std::vector<at::Tensor>& states,
                                                      const at::Tensor& mask) mutable {
    const auto dtype = model->parameters().front().scalar_type();
    std::vector<at::Tensor> batch;  // of one clip: (1, T, C)
    for (const at::Tensor& state : states) batch.push_back(state.to(dtype).unsqueeze(0));
    const at::Tensor rows =
        layer_weights.defined() ? weighted_states(layer_weights, batch) : batch.front();
    const at::Tensor masks =
        mask.defined() ? mask.to(rows.device()).unsqueeze(0) : at::Tensor();  // (1, T)
    if constexpr (std::is_same_v<Holder, Wav2Vec2BertForCTC>) {
      return model->lm_head(rows)[0];  // (1, T', E) -> (T', V)
    } else if constexpr (std::is_same_v<Holder, Wav2Vec2BertForSequenceClassification>) {
      return model->logits_of(rows, masks)[0];  // (1, num_labels) -> (num_labels)
    } else if constexpr (std::is_same_v<Holder, Wav2Vec2BertForAudioFrameClassification>) {
      return model->classifier(rows)[0];  // (1, T, C) -> (T, num_labels)
    } else {
      return model->embeddings_of(rows, masks)[0];  // (1, E) -> (E)
    }
  };
  if (report) *report = std::move(loaded.report);
  return result;
}

HeadModel::Loaded HeadModel::load_pooling(const ModelRequest& request, LoadReport* report) const {
  auto loaded = load_model<Wav2Vec2BertModel>(request, engine_, directory_);
  Loaded result;
  result.engine = make_engine(engine_, std::move(loaded.model));
  result.states = {pooled_.state ? StateId(*pooled_.state) : StateId::last_hidden_state()};
  result.head = [config = config_, pooling = pooled_.pooling,
                 of_encoder = pooled_.state.has_value()](const std::vector<at::Tensor>& states,
                                                         const at::Tensor& mask) {
    const at::Tensor& rows = states.front();  // (T, C)
    return pooled_vector(rows, counted_rows(config, mask, rows.size(0), of_encoder), pooling);
  };
  if (report) *report = std::move(loaded.report);
  return result;
}

HeadModel::Loaded HeadModel::load_on(const ModelRequest& request, LoadReport* report,
                                     const std::function<bool()>& interrupt_asked) const {
  Loaded loaded;
  switch (head_) {
    case Head::ctc:
      loaded = load_as<Wav2Vec2BertForCTC>(request, report);
      break;
    case Head::sequence_classification:
      loaded = load_as<Wav2Vec2BertForSequenceClassification>(request, report);
      break;
    case Head::audio_frame_classification:
      loaded = load_as<Wav2Vec2BertForAudioFrameClassification>(request, report);
      break;
    case Head::xvector:
      loaded = load_as<Wav2Vec2BertForXVector>(request, report);
      break;
    case Head::pooling:
      loaded = load_pooling(request, report);
      break;
  }
  loaded.kind = head_;
  loaded.engine->interrupt_when(interrupt_asked);
  return loaded;
}

AnswerFunction HeadModel::function(const Loaded& loaded, const Windows& windows,
                                   const Reduction& reduction) const {
  std::int64_t window_rows = 0;  // of each window but a clip's last one
  if (windows.on()) {
    Waveform silence;
    silence.samples.resize(static_cast<std::size_t>(windows.samples));
    silence.sample_rate_hz = static_cast<int>(features_.sampling_rate);
    window_rows =
        features_of(silence, SeamlessM4TFeatureExtractor(features_), "").input_features.size(0);
  }
  return [loaded, reduction, window_rows, precision = request_.precision,
          batch_frames = batch_frames()](const std::vector<EngineClip>& clips) {
    const at::NoGradGuard no_grad;
    std::vector<EngineClip> parts;
    std::vector<std::size_t> parts_of;  // how many each clip has
    for (const EngineClip& clip : clips) {
      const std::int64_t rows = clip.input_features.size(0);
      const std::int64_t step = window_rows > 0 ? window_rows : rows;
      const std::size_t before = parts.size();
      for (std::int64_t begin = 0; begin < rows; begin += step) {
        parts.push_back(part_of(clip, begin, std::min(step, rows - begin)));
      }
      parts_of.push_back(parts.size() - before);
    }
    std::vector<at::Tensor> reduced;
    for (auto part = parts.begin(); part != parts.end();) {
      std::vector<EngineClip> together;
      std::int64_t frames = 0;
      // A clip that is longer than a batch goes alone, as a window would.
      do {
        frames += part->input_features.size(0);
        together.push_back(*part++);
      } while (part != parts.end() && frames + part->input_features.size(0) <= batch_frames);
      const std::vector<ClipStates> states = loaded.engine->compute(together, loaded.states);
      std::vector<at::Tensor> on_device, extremes;
      for (std::size_t i = 0; i < states.size(); ++i) {
        const at::Tensor output = loaded.head(states[i].states, together[i].attention_mask);
        on_device.push_back(reduction(output));
        extremes.push_back(extremes_of(deciding_values(output, loaded.kind)));
      }
      on_device.push_back(at::stack(extremes));
      std::vector<at::Tensor> downloaded = download(on_device);
      check_finite(are_finite(downloaded.back()), name_of_output(loaded.kind), precision);
      downloaded.pop_back();
      for (at::Tensor& tensor : downloaded) reduced.push_back(std::move(tensor));
    }
    std::vector<WindowTensors> answers;
    auto next = reduced.begin();
    for (const std::size_t count : parts_of) {
      answers.emplace_back(next, next + static_cast<std::ptrdiff_t>(count));
      next += static_cast<std::ptrdiff_t>(count);
    }
    return answers;
  };
}

const char* name_of_output(Head head) {
  return head == Head::xvector || head == Head::pooling ? "embeddings" : "logits";
}

at::Tensor deciding_values(const at::Tensor& output, Head head) {
  const bool is_vector = head == Head::xvector || head == Head::pooling;
  return is_vector ? output : output.amax(-1);
}

void check_finite(const at::Tensor& finite, const char* output, Precision precision) {
  if (finite.all().item<bool>()) return;
  const bool is_narrow = precision == Precision::float16;
  throw RangeError("", output, "hold NaN or infinity",
                   is_narrow ? "finite values, or a wider type than float16"
                             : "finite values, as finite weights give them",
                   is_narrow ? "precision" : "");
}

at::Tensor kept_of_window(const at::Tensor& rows, const Window& window, double samples_per_row) {
  const Kept kept = kept_rows(window, rows.size(0), samples_per_row);
  return rows.narrow(0, kept.begin, kept.end - kept.begin);
}

at::Tensor kept_of_windows(const WindowTensors& of_windows, const Windows& windows,
                           std::int64_t samples, double samples_per_row) {
  if (!windows.on()) return of_windows.front();
  const std::vector<Window> cut =
      windows_of(samples, windows, SeamlessM4TFeatureExtractor::kMinSamples);
  TORCH_INTERNAL_ASSERT(cut.size() == of_windows.size(), "windows: ", of_windows.size(), " of ",
                        cut.size());
  std::vector<at::Tensor> kept;
  for (std::size_t i = 0; i < cut.size(); ++i) {
    kept.push_back(kept_of_window(of_windows[i], cut[i], samples_per_row));
  }
  return at::cat(kept);
}

}  // namespace w2vbert::tool
