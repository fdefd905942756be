#include "tool/tasks/extraction.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>
#include <memory>
#include <utility>

#include "checkpoint/safetensors_header.h"
#include "core/dtype.h"
#include "core/file.h"
#include "core/memory.h"
#include "core/padding_mask.h"
#include "core/parse_number.h"
#include "core/text.h"
#include "engine/device/device_copies.h"
#include "engine/kernels/narrow_products.h"
#include "models/statistics.h"
#include "tool/run/failure.h"
#include "tool/store/sha256.h"
#include "tool/tasks/chunked_states.h"
#include "tool/tasks/model_identity.h"
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

std::string states_name(const std::vector<std::int64_t>& states) {
  if (states.empty()) return "last_hidden_state";
  std::string name;
  for (const std::int64_t state : states) {
    if (!name.empty()) name += ',';
    name += std::to_string(state);
  }
  return name;
}

std::string channels_name(const AudioOptions& audio) {
  switch (audio.channels) {
    case AudioOptions::Channels::first:
      return "first";
    case AudioOptions::Channels::mix:
      return "mix";
    default:
      return audio.channel == kEachChannel ? "each" : std::to_string(audio.channel);
  }
}

std::string numbers_of(const SeamlessM4TFeatureExtractorConfig& features) {
  return "num_mel_bins=" + std::to_string(features.num_mel_bins) +
         " sampling_rate=" + std::to_string(features.sampling_rate) +
         " stride=" + std::to_string(features.stride) +
         " padding_value=" + number_text(features.padding_value) +
         // Only then: other runs keep the fingerprint that they have always had.
         (features.return_attention_mask ? "" : " return_attention_mask=false");
}

constexpr const char* kStats = "stats";

Checkpoint open_statistics(const std::string& path) {
  // The projects publish their statistics as pickles.
  if (!is_directory<CheckpointError>(path) && is_pickle(InputFile::open<CheckpointError>(path))) {
    throw CheckpointError(path, "", "is a pickle (PyTorch .pt), which is never read",
                          "a safetensors file with mean and var, as scripts/convert_stats.py makes "
                          "one of it",
                          kStats);
  }
  try {
    return Checkpoint::open(path);
  } catch (const CheckpointError& error) {
    throw CheckpointError("", "", error.what(), "", kStats);
  }
}

at::Tensor read_statistic(const Checkpoint& file, const std::string& name, std::int64_t channels,
                          Statistic statistic) {
  const std::string shape = "a float tensor of shape (" + std::to_string(channels) + ")";
  const CheckpointTensor* tensor = file.find(name);
  if (!tensor) throw CheckpointError(file.path(), name, "is missing", shape, kStats);
  at::Tensor value = file.read(name);
  if (!value.is_floating_point() || value.dim() != 1 || value.size(0) != channels) {
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

// (T, C) -> (T', C), the mean of each `pool` rows; what is left over at the end is cut.
at::Tensor pooled(const at::Tensor& rows, std::int64_t pool) {
  if (pool == 1) return rows;
  if (rows.size(0) < pool) {
    throw UsageError("", "pool", std::to_string(pool) + " frames make one row",
                     "at most the clip's " + std::to_string(rows.size(0)), "pool");
  }
  return at::avg_pool1d(rows.t().unsqueeze(0), {pool}, {pool})[0].t();
}

// (T) -> (T'): 1 for the rows all of whose frames are valid.
at::Tensor pooled_mask(const at::Tensor& mask, std::int64_t pool) {
  if (pool == 1) return mask;
  const std::int64_t rows = mask.size(0) / pool;
  return mask.slice(0, 0, rows * pool).reshape({rows, pool}).amin(1);
}

}  // namespace

std::vector<std::int64_t> parse_states(const std::string& text, std::int64_t num_hidden_layers) {
  std::vector<std::int64_t> states;
  if (text == "all") {
    for (std::int64_t state = 0; state <= num_hidden_layers; ++state) states.push_back(state);
    return states;
  }
  const std::string range = "0 to " + std::to_string(num_hidden_layers);
  for (const std::string& word : split(text, ',')) {
    const auto state = parse_number<std::int64_t>(word);
    if (!state || (*state == 0 && word.front() == '-')) {
      throw UsageError("", "states", in_quotes(word) + " is no number",
                       "\"all\", or numbers from " + range + " with commas between them", "states");
    }
    if (*state < 0 || *state > num_hidden_layers) {
      throw UsageError("", "states", quote_bytes(word) + " is not one of the model's", range,
                       "states");
    }
    states.push_back(*state);
  }
  std::sort(states.begin(), states.end());
  states.erase(std::unique(states.begin(), states.end()), states.end());
  return states;
}

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
  const auto name = [](AudioOptions::Resampler resampler) {
    switch (resampler) {
      case AudioOptions::Resampler::soxr:
        return "soxr";
      case AudioOptions::Resampler::sinc:
        return "sinc";
      default:
        return "sinc_transform";
    }
  };
  fields.emplace_back("resampler", name(audio.resampler));
  if (audio.first_sample_rate_hz > 0) {
    fields.emplace_back("first_resampler", std::string(name(audio.first_resampler)) + " to " +
                                               std::to_string(audio.first_sample_rate_hz));
  }
  if (audio.first_seconds > 0) {
    fields.emplace_back("first_seconds", std::to_string(audio.first_seconds));
  }
  if (audio.padding == AudioOptions::Padding::xcodec2) fields.emplace_back("padding", "xcodec2");
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

Extraction::Extraction(ModelRequest request, const ExtractionOptions& options)
    : request_(std::move(request)),
      output_dtype_(options.output_dtype.value_or(dtype_of(request_.precision))),
      attention_mask_(options.attention_mask),
      pool_(options.pool),
      preset_(options.preset) {
  const ModelDirectory model = resolve_model(request_.model, request_.revision);
  directory_ = model.path;
  watched_.add_model(directory_, model.weight_files);
  if (!request_.lora.empty()) watched_.add_lora(request_.lora);
  config_ = load_config(request_, directory_);
  engine_ = choose_engine(request_, config_);
  features_ = load_features(config_, directory_);
  choose_states(options.states);
  if (options.chunk_seconds > 0) {
    if (states_.empty() && config_.add_adapter) {
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
  if (!options.stats.empty()) {
    const Checkpoint file = open_statistics(options.stats);
    // The states are the encoder's; only last_hidden_state is what an adapter makes of them.
    const bool of_adapter = states_.empty() && config_.add_adapter;
    const std::int64_t channels = of_adapter ? config_.adapter_size() : config_.hidden_size;
    mean_ = read_statistic(file, "mean", channels, Statistic::mean);
    var_ = read_statistic(file, "var", channels, Statistic::variance);
    Sha256 sha;
    for (const at::Tensor& value : {mean_, var_}) {
      const at::Tensor wide = value.to(at::kDouble);  // holds every float type's values exactly
      sha.add(std::string(c10::toString(value.scalar_type())) + ":");
      sha.add(std::span(static_cast<const std::byte*>(wide.const_data_ptr()), wide.nbytes()));
    }
    stats_digest_ = sha.hex();
  }
  if (!options.kmeans.empty()) {
    if (states_.size() > 1) {
      throw UsageError("", "kmeans", "is given for " + std::to_string(states_.size()) + " states",
                       "one, as centres are of one", "kmeans");
    }
    const bool of_adapter = states_.empty() && config_.add_adapter;
    kmeans_ = std::make_shared<const KMeans>(
        options.kmeans, of_adapter ? config_.adapter_size() : config_.hidden_size);
    dedup_units_ = options.dedup_units;
  }
  if (output_dtype_ == computed_dtype()) output_dtype_.reset();  // the same outputs, the same run
  if (options.fingerprint) {
    model_identity_ = model_identity(directory_, model.weight_files);
    if (!request_.lora.empty()) lora_identity_ = lora_identity(request_.lora);
  }
  watched_.check();
}

void Extraction::choose_states(const std::string& states) {
  states_.clear();
  if (!states.empty()) {
    try {
      states_ = parse_states(states, config_.num_hidden_layers);
    } catch (const UsageError&) {
      if (preset_.empty()) throw;
      throw UsageError("", "preset",
                       preset_ + " takes state " + states + ", the model's last is " +
                           std::to_string(config_.num_hidden_layers),
                       "a model with more layers", "preset");
    }
  }
  // The states here are the encoder's, whose bits no release of transformers changes.
  const bool wants_tied = !states_.empty() && states_.back() == config_.num_hidden_layers &&
                          config_.add_adapter && config_.ties_last_hidden_state();
  if (wants_tied) {
    const std::string setting = preset_.empty() ? "states" : "preset";
    throw UsageError("", setting,
                     "state " + std::to_string(states_.back()) +
                         " is what the adapter makes of it in a model with tie_last_hidden_states",
                     "states before it, or none, which gives last_hidden_state", setting);
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
  fields.emplace_back("states", states_name(states_));
  fields.emplace_back("stats", stats_digest_.empty() ? "none" : stats_digest_);
  add_computation(fingerprint, request_, engine_, config_, lora_identity_);
  if (!preset_.empty()) fields.emplace_back("preset", preset_);
  if (!attention_mask_) fields.emplace_back("attention_mask", "none");
  if (states_.empty() && config_.add_adapter) fields.emplace_back("mask", "the adapter's");
  if (pool_ > 1) fields.emplace_back("pool", std::to_string(pool_));
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
  for (const std::int64_t state : states_)
    names.push_back("hidden_states." + std::to_string(state));
  if (names.empty()) names.emplace_back("last_hidden_state");
  names.emplace_back("attention_mask");
  return names;
}

std::vector<std::int64_t> Extraction::row_bytes() const {
  if (kmeans_) return {sizeof(std::int64_t), sizeof(std::int64_t)};
  const bool of_adapter = states_.empty() && config_.add_adapter;
  const std::int64_t channels = of_adapter ? config_.adapter_size() : config_.hidden_size;
  std::vector<std::int64_t> bytes(
      states(), channels * static_cast<std::int64_t>(c10::elementSize(output_dtype())));
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
                              .states = states(),
                              .output_dtype = output_dtype(),
                              .at_once = batches_at_once(engine_)});
  }
  // Rows of the engine's matrices, and of each state: in the engine's hands, the clip's and the
  // writer's.
  const std::int64_t row_bytes = 4 * config_.hidden_size;
  const auto states = static_cast<std::int64_t>(std::max<std::size_t>(1, states_.size()));
  const std::int64_t frame_bytes = (8 + 3 * states) * row_bytes;
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

BatchFunction Extraction::function_on(std::shared_ptr<Engine> engine, c10::Device device,
                                      std::int64_t batch_frames) const {
  std::vector<StateId> wanted(states_.begin(), states_.end());
  if (wanted.empty()) wanted.push_back(StateId::last_hidden_state());
  const at::Tensor mean = mean_.defined() ? mean_.to(device) : at::Tensor();
  const at::Tensor deviation = var_.defined() ? at::sqrt(var_.to(device)) : at::Tensor();
  // The model's own NaN and infinities are stored; what is made of its states adds none. Those of
  // a model in float16 mostly come from values beyond it.
  const bool converted = mean.defined() || output_dtype_;
  const bool is_float16 = request_.precision == Precision::float16;
  const std::string setting = output_dtype_ ? "output_dtype" : "precision";
  const bool of_adapter = states_.empty() && config_.add_adapter;
  return [=, names = tensor_names(), chunking = chunking_, dtype = output_dtype(), config = config_,
          masked = attention_mask_, pool = pool_, kmeans = kmeans_,
          dedup = dedup_units_](const std::vector<EngineClip>& clips) {
    const at::NoGradGuard no_grad;
    std::vector<EngineClip> inputs = clips;
    if (!masked) {
      for (EngineClip& clip : inputs) clip.attention_mask = at::Tensor();
    }
    const auto states = states_in_chunks(*engine, inputs, wanted, chunking, batch_frames);
    const auto widen = [&](const at::Tensor& computed) {
      return pooled(mean.defined() ? (computed - mean) / deviation : computed, pool);
    };
    const auto bad_of = [&](const at::Tensor& computed, const at::Tensor& wide,
                            const at::Tensor& narrow) {
      const at::Tensor bad = narrow.isfinite().logical_not();
      return is_float16 || kmeans ? bad : bad.logical_and((pool > 1 ? wide : computed).isfinite());
    };
    // A device is waited for once, when all is queued.
    std::vector<at::Tensor> stored, are_bad;
    for (const ClipStates& clip : states) {
      for (const at::Tensor& computed : clip.states) {
        const at::Tensor wide = widen(computed);
        const at::Tensor narrow = wide.to(dtype);
        stored.push_back(kmeans ? kmeans->units(narrow) : narrow);
        // What is not finite is near to no centre.
        if (is_float16 || converted || kmeans) {
          are_bad.push_back(bad_of(computed, wide, narrow).any());
        }
      }
    }
    if (!are_bad.empty()) stored.push_back(at::stack(are_bad));
    stored = download(stored);
    if (!are_bad.empty() && stored.back().any().item<bool>()) {
      for (const ClipStates& clip : states) {
        for (std::size_t i = 0; i < wanted.size(); ++i) {
          const at::Tensor wide = widen(clip.states[i]);
          check_range(bad_of(clip.states[i], wide, wide.to(dtype)), wide, dtype, names[i], setting);
        }
      }
    }
    std::vector<NamedTensors> outputs(clips.size());
    auto rows = stored.begin();
    for (std::size_t clip = 0; clip < clips.size(); ++clip) {
      // HF: without a mask all frames count.
      at::Tensor mask = clips[clip].attention_mask;
      if (!mask.defined()) mask = at::ones({clips[clip].input_features.size(0)}, at::kLong);
      for (std::size_t i = 0; i < wanted.size(); ++i, ++rows) {
        if (of_adapter) mask = adapted_mask(config, mask, states[clip].states[i].size(0));
        if (dedup) {
          UnitRuns runs = unit_runs(*rows);
          outputs[clip].emplace_back(names[0], std::move(runs.units));
          outputs[clip].emplace_back(names[1], std::move(runs.counts));
          continue;
        }
        outputs[clip].emplace_back(names[i], std::move(*rows));
      }
      if (dedup) continue;
      outputs[clip].emplace_back(names.back(), pooled_mask(mask, pool).contiguous());
    }
    return outputs;
  };
}

}  // namespace w2vbert::tool
