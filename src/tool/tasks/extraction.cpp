#include "tool/tasks/extraction.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>
#include <memory>
#include <utility>

#include "core/dtype.h"
#include "core/float_types.h"
#include "core/memory.h"
#include "core/padding_mask.h"
#include "core/text.h"
#include "engine/device/device_copies.h"
#include "engine/kernels/narrow_products.h"
#include "models/statistics.h"
#include "tool/run/failure.h"
#include "tool/store/sha256.h"
#include "tool/tasks/finite_values.h"
#include "tool/tasks/model_identity.h"
#include "tool/tasks/option_checkpoint.h"
#include "w2vbert/checkpoint/checkpoint.h"
#include "w2vbert/checkpoint/model_directory.h"
#include "w2vbert/core/error.h"
#include "w2vbert/models/wav2vec2_bert_model.h"
#include "w2vbert/version.h"

namespace w2vbert::tool {
namespace {

// Seconds of audio that go through the model together: more gains nothing (docs/benchmarks.md).
constexpr double kBatchSeconds = 60;
constexpr double kMinBatchSeconds = 5;
constexpr double kPaddedBatchSeconds = 120;  // where it does not fit, batches are halved
// Raised when the same request would give other bytes.
constexpr const char* kOutputFormat = "3";

std::string numbers_of(const SeamlessM4TFeatureExtractorConfig& features) {
  return "num_mel_bins=" + std::to_string(features.num_mel_bins) +
         " sampling_rate=" + std::to_string(features.sampling_rate) +
         " stride=" + std::to_string(features.stride) +
         " padding_value=" + number_text(features.padding_value) +
         // Only then: other runs keep the fingerprint that they have always had.
         (features.return_attention_mask ? "" : " return_attention_mask=false");
}

constexpr const char* kStats = "stats";

at::Tensor read_statistic(const Checkpoint& file, const std::string& name, std::int64_t channels,
                          Statistic statistic) {
  const std::string shape = "a float tensor of shape (" + std::to_string(channels) + ")";
  const CheckpointTensor* tensor = file.find(name);
  if (!tensor) throw CheckpointError(file.path(), name, "is missing", shape, kStats);
  at::Tensor value = file.read(name);
  if (!is_plain_float(value.scalar_type()) || value.dim() != 1 || value.size(0) != channels) {
    throw CheckpointError(
        file.path(), name,
        "has dtype " + tensor->dtype_name + " and shape " + shape_text(value.sizes()), shape,
        kStats);
  }
  if (const auto bad = find_bad_statistic(value, statistic)) {
    throw CheckpointError(
        file.path(), name,
        "holds " + number_text(bad->value) + " at index " + std::to_string(bad->index),
        expected_values(statistic), kStats);
  }
  return value;
}

// Throws RangeError where `bad` (T, C) is true: what `stored` has there is beyond its type. `wide`
// has it in the type that it was computed in; `setting` is what would have to be another.
void check_range(const at::Tensor& bad, const at::Tensor& wide, c10::ScalarType stored,
                 const std::string& name, const std::string& setting) {
  if (!bad.any().item<bool>()) return;
  const at::Tensor place = bad.nonzero()[0];
  const auto row = place[0].item<std::int64_t>(), column = place[1].item<std::int64_t>();
  throw RangeError("", name,
                   "holds " + number_text(wide[row][column].item<double>()) + " at (" +
                       std::to_string(row) + ", " + std::to_string(column) + ")",
                   "values up to " + number_text(-lowest_finite(stored)) +
                       ", or a wider type than " + dtype_name(stored),
                   setting);
}

// Which of the `rows` rows that an adapter makes of a clip count (HF: the adapter's
// _compute_sub_sample_lengths_from_attention_mask and _compute_new_attention_mask).
at::Tensor adapted_mask(const Wav2Vec2BertConfig& config, const at::Tensor& mask,
                        std::int64_t rows) {
  auto length = mask.sum().item<double>();
  const auto kernel = static_cast<double>(config.adapter_kernel_size);
  const std::int64_t padding = config.adapter_kernel_size / 2;
  for (std::int64_t layer = 0; layer < config.num_adapter_layers; ++layer) {
    length = std::floor((length + static_cast<double>(2 * padding) - kernel) /
                            static_cast<double>(config.adapter_stride) +
                        1);
  }
  return at::arange(rows).lt(length).to(mask.scalar_type());
}

// torch: functional.interpolate, nearest: (T, C) -> (round(seconds * rows_per_second), C), with
// Python's round().
at::Tensor nearest_rows(const at::Tensor& rows, double seconds, double rows_per_second) {
  const auto count = static_cast<std::int64_t>(std::nearbyint(seconds * rows_per_second));
  if (count < 1) {
    throw UsageError("", "preset", "takes no row of " + number_text(seconds) + " s",
                     "more than " + number_text(0.5 / rows_per_second) + " s", "preset");
  }
  if (count == rows.size(0)) return rows;
  return at::upsample_nearest1d(rows.t().unsqueeze(0), {count})[0].t();  // (1, C, T)
}

}  // namespace

SeamlessM4TFeatureExtractorConfig feature_settings(const std::string& model,
                                                   const std::string& revision) {
  if (model.empty() && !revision.empty()) {
    throw UsageError("", "revision", "is given without a model", "both", "revision");
  }
  if (model.empty()) return {};
  return SeamlessM4TFeatureExtractorConfig::from_pretrained(resolve_model(model, revision).path);
}

void add_audio(Fingerprint& fingerprint, const AudioOptions& audio) {
  auto& fields = fingerprint.fields;
  fields.emplace_back("resampler", resampler_name(audio.resampler));
  if (audio.first_sample_rate_hz > 0) {
    fields.emplace_back("first_resampler", resampler_name(audio.first_resampler) + " to " +
                                               std::to_string(audio.first_sample_rate_hz));
  }
  if (audio.first_seconds > 0) {
    fields.emplace_back("first_seconds", std::to_string(audio.first_seconds));
  }
  if (audio.normalize) fields.emplace_back("normalize_audio", "true");
  if (audio.padding != AudioOptions::Padding::none) {
    const bool is_xcodec2 = audio.padding == AudioOptions::Padding::xcodec2;
    fields.emplace_back("padding", is_xcodec2 ? "xcodec2" : "neucodec");
  }
  fields.emplace_back("channels", channels_name(audio));
  // Only then: other runs keep the fingerprint that they have always had.
  if (audio.salvage) fields.emplace_back("salvage", "true");
}

Fingerprint fingerprint_of(const char* command) {
  return {{{"format", kOutputFormat}, {"w2vbert", version()}, {"command", command}}};
}

void add_computation(Fingerprint& fingerprint, const ModelRequest& request,
                     const EngineChoice& engine, const Wav2Vec2BertConfig& config,
                     const std::string& lora_identity) {
  auto& fields = fingerprint.fields;
  fields.emplace_back("dtype", name_of(request.precision));
  // Only then: other runs keep the fingerprint that they have always had.
  if (request.precision == Precision::int8 && precision_beside_int8() != Precision::float32) {
    fields.emplace_back("beside_int8", name_of(precision_beside_int8()));
  }
  fields.emplace_back("device", request.device.is_cpu() ? "cpu" : "cuda");
  fields.emplace_back("engine", name_of(engine.kind));
  // The other engines have one way of their own, and ask for the attention only where a query has
  // no key.
  if (engine.kind == EngineKind::reference || config.attn_implementation != "sdpa") {
    fields.emplace_back("attn_implementation", config.attn_implementation);
  }
  fields.emplace_back("prefix", request.prefix);
  fields.emplace_back("lenient", request.lenient ? "true" : "false");
  // Only then: other runs keep the fingerprint that they have always had.
  if (!lora_identity.empty()) fields.emplace_back("lora", lora_identity);
  if (!request.lora_prefix.empty()) fields.emplace_back("lora_prefix", request.lora_prefix);
  fingerprint.notes.emplace_back("hf_version", name_of(request.hf_version));
}

Fingerprint features_fingerprint(const SeamlessM4TFeatureExtractorConfig& features,
                                 const AudioOptions& audio) {
  Fingerprint fingerprint = fingerprint_of("features");
  fingerprint.fields.emplace_back("feature_extractor", numbers_of(features));
  add_audio(fingerprint, audio);
  return fingerprint;
}

ExtractionOptions with_weighted_sum(ExtractionOptions options) {
  if (options.state_weights.empty()) return options;
  if (options.states.empty()) options.states = "weighted";
  if (options.states.find("weighted") == std::string::npos) {
    throw UsageError("", "state_weights", "is given, no weighted sum is among the states",
                     "weighted:0-24 for example, or no states", "state_weights");
  }
  return options;
}

Extraction::Extraction(ModelRequest request, const ExtractionOptions& options)
    : request_(std::move(request)),
      output_dtype_(options.output_dtype.value_or(dtype_of(request_.precision))),
      preset_(options.preset.empty() ? nullptr : &preset_named(options.preset)) {
  if (preset_ != nullptr && preset_->rows_per_second > 0 && options.pool && options.pool->on()) {
    throw UsageError("", "pool", "is given, preset " + options.preset + " takes rows by their time",
                     "one of the two", "pool");
  }
  if (!options.softmax && options.state_weights.empty()) {
    throw UsageError("", "no_softmax", "is given without weights of states", "both", "no_softmax");
  }
  pool_ = options.pool.value_or(RowPooling{.frames = preset_ != nullptr ? preset_->pool : 1});
  const ModelDirectory model = resolve_model(request_.model, request_.revision);
  directory_ = model.path;
  watched_.add_model(directory_, model.weight_files);
  if (!request_.lora.empty()) watched_.add_lora(request_.lora);
  config_ = load_config(request_, directory_);
  engine_ = choose_engine(request_, config_);
  features_ = load_features(config_, directory_);
  if (preset_ != nullptr && features_.sampling_rate != preset_->audio.target_sample_rate_hz) {
    throw UsageError("", "preset",
                     options.preset + " is for models of " +
                         std::to_string(preset_->audio.target_sample_rate_hz) +
                         " Hz, this one's feature extractor has " +
                         std::to_string(features_.sampling_rate) + " Hz",
                     "another model, or no preset", "preset");
  }
  if (!options.state_weights.empty()) {
    state_weights_ = std::make_shared<const StateWeights>(options.state_weights, options.softmax);
  }
  choose_states(preset_ != nullptr ? std::string(preset_->states) : options.states);
  if (options.chunk_seconds > 0) choose_chunks(options);
  if (!options.stats.empty()) read_stats(options.stats);
  if (!options.kmeans.empty()) {
    if (outputs_.size() > 1) {
      throw UsageError("", "kmeans", "is given for " + std::to_string(outputs_.size()) + " states",
                       "one, as centres are of one", "kmeans");
    }
    kmeans_ = std::make_shared<const KMeans>(options.kmeans, pool_.width(channels()));
    dedup_units_ = options.dedup_units;
  }
  if (output_dtype_ == computed_dtype()) output_dtype_.reset();  // the same outputs, the same run
  if (options.fingerprint) {
    model_identity_ = model_identity(directory_, model.weight_files);
    if (!request_.lora.empty()) lora_identity_ = lora_identity(request_.lora);
  }
  watched_.check();
}

void Extraction::choose_chunks(const ExtractionOptions& options) {
  if (is_of_adapter()) {
    throw UsageError("", "chunk_seconds", "cannot cut what an adapter makes of a clip",
                     "states to be requested, which are the encoder's", "chunk_seconds");
  }
  const double frame_seconds = 1 / features_.frame_rate_hz();
  if (options.chunk_seconds < frame_seconds) {
    throw UsageError("", "chunk_seconds",
                     number_text(options.chunk_seconds) + " seconds are less than a frame",
                     number_text(frame_seconds) + " or more", "chunk_seconds");
  }
  chunking_.frames = features_.frames_of(options.chunk_seconds);
  chunking_.overlap =
      static_cast<std::int64_t>(options.overlap_seconds * features_.frame_rate_hz());
  if (chunking_.overlap >= chunking_.frames) {
    throw UsageError("", "overlap_seconds",
                     "is as long as a chunk, of " + std::to_string(chunking_.frames) + " frames",
                     "less than --chunk-seconds", "overlap_seconds");
  }
}

void Extraction::read_stats(const std::string& path) {
  // The projects publish their statistics as pickles.
  const Checkpoint file =
      open_checkpoint_of(kStats, path,
                         "a safetensors file with mean and var, as scripts/convert_stats.py makes "
                         "one of it");
  mean_ = read_statistic(file, "mean", channels(), Statistic::mean);
  var_ = read_statistic(file, "var", channels(), Statistic::variance);
  Sha256 sha;
  for (const at::Tensor& value : {mean_, var_}) {
    const at::Tensor wide = value.to(at::kDouble);  // holds every float type's values exactly
    sha.add(std::string(c10::toString(value.scalar_type())) + ":");
    sha.add(std::span(static_cast<const std::byte*>(wide.const_data_ptr()), wide.nbytes()));
  }
  stats_digest_ = sha.hex();
}

// The states are the encoder's; only last_hidden_state is what an adapter makes of them.
std::int64_t Extraction::channels() const noexcept {
  return is_of_adapter() ? config_.adapter_size() : config_.hidden_size;
}

bool Extraction::has(StateOutput::Kind kind) const noexcept {
  return std::any_of(outputs_.begin(), outputs_.end(),
                     [&](const StateOutput& output) { return output.kind == kind; });
}

bool Extraction::has_sums() const noexcept {
  return has(StateOutput::Kind::mean) || has(StateOutput::Kind::weighted);
}

void Extraction::choose_states(const std::string& states) {
  try {
    outputs_ = parse_states(states, config_.num_hidden_layers);
  } catch (const UsageError&) {
    if (preset_ == nullptr) throw;
    const bool is_number = states.find(':') == std::string::npos;
    throw UsageError("", "preset",
                     std::string(preset_->name) + " takes " + (is_number ? "state " : "") + states +
                         ", the model's last is " + std::to_string(config_.num_hidden_layers),
                     "a model with more layers", "preset");
  }
  const auto has_last = [&](const StateOutput& output) {
    return !output.states.empty() && output.states.back() == config_.num_hidden_layers;
  };
  // The states here are the encoder's, whose bits no release of transformers changes.
  if (std::any_of(outputs_.begin(), outputs_.end(), has_last) && config_.add_adapter &&
      config_.ties_last_hidden_state()) {
    const std::string setting = preset_ == nullptr ? "states" : "preset";
    throw UsageError("", setting,
                     "state " + std::to_string(config_.num_hidden_layers) +
                         " is what the adapter makes of it in a model with tie_last_hidden_states",
                     "states before it, or none, which gives last_hidden_state", setting);
  }
  for (const StateOutput& output : outputs_) {
    if (output.kind != StateOutput::Kind::weighted) continue;
    if (!state_weights_) {
      throw UsageError("", "state_weights", "is not given, the states have a weighted sum",
                       "a .npy or safetensors file of weights", "state_weights");
    }
    (void)state_weights_->of(output.states.size());
  }
}

Extraction Extraction::with_states(const std::string& states) const {
  Extraction other = *this;
  other.choose_states(states);
  return other;
}

Fingerprint Extraction::fingerprint(const AudioOptions& audio) const {
  Fingerprint fingerprint = fingerprint_of("extract");
  auto& fields = fingerprint.fields;
  fields.emplace_back("model", model_identity_);
  fields.emplace_back("states", text_of(outputs_));
  if (has(StateOutput::Kind::weighted)) {
    fields.emplace_back("state_weights", state_weights_->digest());
  }
  fields.emplace_back("stats", stats_digest_.empty() ? "none" : stats_digest_);
  add_computation(fingerprint, request_, engine_, config_, lora_identity_);
  if (preset_ != nullptr) {
    fields.emplace_back("preset", preset_->name);
    if (!preset_->attention_mask) fields.emplace_back("attention_mask", "none");
  }
  if (is_of_adapter()) fields.emplace_back("mask", "the adapter's");
  if (pool_.on()) fields.emplace_back("pool", pool_.text());
  if (kmeans_) fields.emplace_back("kmeans", kmeans_->digest());
  if (dedup_units_) fields.emplace_back("kmeans_dedup", "true");
  if (output_dtype_) {
    fields.emplace_back("output_dtype", dtype_name(*output_dtype_));
  } else {
    fingerprint.defaults.emplace_back("output_dtype", dtype_name(computed_dtype()));
  }
  if (chunking_.on()) {
    fields.emplace_back("chunk_frames", std::to_string(chunking_.frames));
    fields.emplace_back("overlap_frames", std::to_string(chunking_.overlap));
  }
  add_audio(fingerprint, audio);
  return fingerprint;
}

c10::ScalarType Extraction::output_dtype() const {
  return output_dtype_.value_or(computed_dtype());
}

c10::ScalarType Extraction::computed_dtype() const {
  const c10::ScalarType computed = dtype_of(request_.precision);
  return mean_.defined() ? c10::promoteTypes(computed, mean_.scalar_type()) : computed;
}

std::vector<std::string> Extraction::tensor_names() const {
  if (dedup_units_) return {"units", "counts"};
  if (kmeans_) return {"units", "attention_mask"};
  std::vector<std::string> names;
  for (const StateOutput& output : outputs_) names.push_back(output.name());
  names.emplace_back("attention_mask");
  return names;
}

std::vector<std::int64_t> Extraction::row_bytes() const {
  if (kmeans_) return {sizeof(std::int64_t), sizeof(std::int64_t)};
  std::vector<std::int64_t> bytes(
      states(),
      pool_.width(channels()) * static_cast<std::int64_t>(c10::elementSize(output_dtype())));
  bytes.push_back(sizeof(std::int64_t));  // attention_mask
  return bytes;
}

std::int64_t Extraction::batch_frames(std::optional<double> seconds) const {
  if (seconds) return features_.frames_of(*seconds);
  if (engine_.kind == EngineKind::reference) {
    return request_.device.is_cpu() ? 1 : features_.frames_of(kPaddedBatchSeconds);
  }
  if (engine_.kind == EngineKind::device) {
    return frames_on_devices(request_, config_, features_,
                             {.dtype = dtype_of(request_.precision),
                              // Sums are float32 while they grow.
                              .states = has_sums() ? 2 * states() : states(),
                              .output_dtype = output_dtype(),
                              .at_once = batches_at_once(engine_)});
  }
  // Rows of the engine's matrices, and of each state: in the engine's hands, the clip's and the
  // writer's.
  const std::int64_t row_bytes = 4 * config_.hidden_size;
  const std::int64_t frame_bytes = (8 + 3 * static_cast<std::int64_t>(states())) * row_bytes;
  return std::clamp(usable_memory() / 4 / functions() / frame_bytes,
                    features_.frames_of(kMinBatchSeconds), features_.frames_of(kBatchSeconds));
}

std::vector<BatchFunction> Extraction::load(std::int64_t batch_frames, LoadReport* report,
                                            const std::function<bool()>& interrupt_asked) const {
  return load_on_devices<BatchFunction>(
      request_, engine_, report, [&](const ModelRequest& request, LoadReport* of_first) {
        return function_on(load_on(request, of_first, interrupt_asked), request.device,
                           batch_frames);
      });
}

std::shared_ptr<Engine> Extraction::load_engine(
    LoadReport* report, const std::function<bool()>& interrupt_asked) const {
  return load_on(request_, report, interrupt_asked);
}

BatchFunction Extraction::function(std::shared_ptr<Engine> engine,
                                   std::int64_t batch_frames) const {
  return function_on(std::move(engine), request_.device, batch_frames);
}

std::shared_ptr<Engine> Extraction::load_on(const ModelRequest& request, LoadReport* report,
                                            const std::function<bool()>& interrupt_asked) const {
  auto loaded = load_model<Wav2Vec2BertModel>(request, engine_, directory_);
  watched_.check();
  std::shared_ptr<Engine> engine = make_engine(engine_, std::move(loaded.model));
  engine->interrupt_when(interrupt_asked);
  if (report) *report = std::move(loaded.report);
  return engine;
}

ComputeStates Extraction::compute_states(std::shared_ptr<Engine> engine) const {
  if (!has_sums()) {
    std::vector<StateId> wanted;
    for (const StateOutput& output : outputs_) {
      wanted.push_back(is_last_hidden_state() ? StateId::last_hidden_state()
                                              : StateId(output.states.front()));
    }
    return [engine = std::move(engine), wanted](const std::vector<EngineClip>& clips) {
      return engine->compute(clips, wanted);
    };
  }
  std::vector<StateSum> sums;
  for (const StateOutput& output : outputs_) {
    sums.push_back({output.states, output.kind == StateOutput::Kind::weighted
                                       ? state_weights_->of(output.states.size())
                                       : std::vector<double>{}});
  }
  return [engine = std::move(engine), sums](const std::vector<EngineClip>& clips) {
    return engine->compute_sums(clips, sums);
  };
}

// What is made of the states of a clip, on the device where they are.
struct Extraction::Steps {
  at::Tensor mean, deviation;  // undefined without statistics
  bool layer_norm = false;
  RowPooling pool;
  double rows_per_second = 0;

  // `clip` is what the model got, `counted` as counted_rows() has it.
  at::Tensor run(const at::Tensor& computed, const EngineClip& clip,
                 const at::Tensor& counted) const {
    at::Tensor rows = mean.defined() ? (computed - mean) / deviation : computed;
    if (layer_norm) rows = at::layer_norm(rows, {rows.size(1)});
    rows = pooled_rows(rows, counted, pool);
    return rows_per_second > 0 ? nearest_rows(rows, clip.seconds, rows_per_second) : rows;
  }
  at::Tensor mask(const at::Tensor& mask, const EngineClip& clip) const {
    const at::Tensor of_rows = pooled_mask(mask, pool);
    if (rows_per_second == 0) return of_rows.contiguous();
    return nearest_rows(of_rows.unsqueeze(1).to(at::kFloat), clip.seconds, rows_per_second)
        .squeeze(1)
        .to(mask.scalar_type());
  }
  // Whether there is a row for each of the states'.
  bool keeps_rows() const { return !pool.on() && rows_per_second == 0; }
};

BatchFunction Extraction::function_on(std::shared_ptr<Engine> engine, c10::Device device,
                                      std::int64_t batch_frames) const {
  Steps steps;
  if (mean_.defined()) {
    steps.mean = mean_.to(device);
    steps.deviation = at::sqrt(var_.to(device));
  }
  steps.pool = pool_;
  bool is_masked = true;
  if (preset_ != nullptr) {
    steps.layer_norm = preset_->layer_norm;
    steps.rows_per_second = preset_->rows_per_second;
    is_masked = preset_->attention_mask;
  }
  // The model's own NaN and infinities are stored and told; what is made of its states adds none.
  // Those of a model in float16 mostly come from values beyond it.
  const bool is_float16 = request_.precision == Precision::float16;
  const std::string setting = output_dtype_ ? "output_dtype" : "precision";
  return [=, compute = compute_states(std::move(engine)), names = tensor_names(),
          chunking = chunking_, dtype = output_dtype(), config = config_, kmeans = kmeans_,
          dedup = dedup_units_, of_adapter = is_of_adapter(),
          count = outputs_.size()](const std::vector<EngineClip>& clips) {
    const at::NoGradGuard no_grad;
    std::vector<EngineClip> inputs = clips;
    if (!is_masked) {
      for (EngineClip& clip : inputs) clip.attention_mask = at::Tensor();
    }
    const auto states = states_in_chunks(compute, inputs, chunking, batch_frames);
    const auto widen = [&](std::size_t clip, const at::Tensor& computed) {
      const at::Tensor counted =
          steps.pool.of_clip
              ? counted_rows(config, inputs[clip].attention_mask, computed.size(0), !of_adapter)
              : at::Tensor();
      return steps.run(computed, inputs[clip], counted);
    };
    const auto bad_of = [&](const at::Tensor& computed, const at::Tensor& wide,
                            const at::Tensor& narrow) {
      const at::Tensor bad = narrow.isfinite().logical_not();
      return is_float16 || kmeans
                 ? bad
                 : bad.logical_and((steps.keeps_rows() ? computed : wide).isfinite());
    };
    // A device is waited for once, when all is queued.
    std::vector<at::Tensor> stored, extremes;
    for (std::size_t clip = 0; clip < states.size(); ++clip) {
      for (const at::Tensor& computed : states[clip].states) {
        const at::Tensor wide = widen(clip, computed);
        const at::Tensor narrow = wide.to(dtype);
        stored.push_back(kmeans ? kmeans->units(narrow) : narrow);
        extremes.push_back(extremes_of(narrow));
      }
    }
    stored.push_back(at::stack(extremes));
    stored = download(stored);
    const at::Tensor finite = are_finite(stored.back());
    const auto is_finite = [&](std::size_t clip, std::size_t i) {
      return finite[static_cast<std::int64_t>(clip * count + i)].item<bool>();
    };
    if (!finite.all().item<bool>()) {
      for (std::size_t clip = 0; clip < states.size(); ++clip) {
        for (std::size_t i = 0; i < count; ++i) {
          if (is_finite(clip, i)) continue;
          const at::Tensor& computed = states[clip].states[i];
          const at::Tensor wide = widen(clip, computed);
          check_range(bad_of(computed, wide, wide.to(dtype)), wide, dtype, names[i], setting);
        }
      }
    }
    std::vector<ClipTensors> outputs(clips.size());
    auto rows = stored.begin();
    for (std::size_t clip = 0; clip < clips.size(); ++clip) {
      // HF: without a mask all frames count.
      at::Tensor mask = clips[clip].attention_mask;
      if (!mask.defined()) mask = at::ones({clips[clip].input_features.size(0)}, at::kLong);
      NamedTensors& tensors = outputs[clip].tensors;
      std::vector<std::string> odd;
      for (std::size_t i = 0; i < count; ++i, ++rows) {
        if (!is_finite(clip, i)) odd.push_back(names[i]);
        if (of_adapter) mask = adapted_mask(config, mask, states[clip].states[i].size(0));
        if (dedup) {
          UnitRuns runs = unit_runs(*rows);
          tensors.emplace_back(names[0], std::move(runs.units));
          tensors.emplace_back(names[1], std::move(runs.counts));
          continue;
        }
        tensors.emplace_back(names[i], rows->contiguous());
      }
      if (!odd.empty()) outputs[clip].note = "the model gives NaN or infinity: " + comma_list(odd);
      if (dedup) continue;
      tensors.emplace_back(names.back(), steps.mask(mask, clips[clip]));
    }
    return outputs;
  };
}

}  // namespace w2vbert::tool
