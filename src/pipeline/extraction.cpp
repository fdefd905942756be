#include "w2vbert/pipeline/extraction.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <memory>
#include <utility>

#include "w2vbert/checkpoint/checkpoint.h"
#include "w2vbert/checkpoint/lora.h"
#include "w2vbert/checkpoint/model_directory.h"
#include "w2vbert/checkpoint/safetensors_header.h"
#include "w2vbert/config/lora_config.h"
#include "w2vbert/core/dtype.h"
#include "w2vbert/core/error.h"
#include "w2vbert/core/file.h"
#include "w2vbert/core/text.h"
#include "w2vbert/models/wav2vec2_bert_model.h"
#include "w2vbert/pipeline/parse_number.h"
#include "w2vbert/pipeline/sha256.h"
#include "w2vbert/pipeline/version.h"

namespace w2vbert {
namespace {

constexpr std::uint64_t kMaxConfigBytes = 1 << 20;
constexpr std::uint64_t kIdentityBytesPerTensor = 4096;
constexpr std::uint64_t kIdentityBlockBytes = 1 << 20;
// Raised when the same request would give other bytes.
constexpr const char* kOutputFormat = "1";

std::string states_name(const std::vector<std::int64_t>& states) {
  if (states.empty()) return "last_hidden_state";
  std::string name;
  for (const std::int64_t state : states) {
    if (!name.empty()) name += ',';
    name += std::to_string(state);
  }
  return name;
}

void add_audio(Fingerprint& fingerprint, const AudioOptions& audio) {
  auto& fields = fingerprint.fields;
  fields.emplace_back("resampler", audio.resampler == AudioOptions::Resampler::soxr ? "soxr" : "sinc");
  fields.emplace_back("channels", audio.channels == AudioOptions::Channels::first ? "first" : "mix");
}

Fingerprint fingerprint_of(const char* command) {
  return {{{"format", kOutputFormat}, {"w2vbert", library_version()}, {"command", command}}};
}

std::string numbers_of(const SeamlessM4TFeatureExtractorConfig& features) {
  std::array<char, 32> padding{};
  const auto end = std::to_chars(padding.begin(), padding.end(), features.padding_value).ptr;
  return "num_mel_bins=" + std::to_string(features.num_mel_bins) +
         " sampling_rate=" + std::to_string(features.sampling_rate) +
         " stride=" + std::to_string(features.stride) +
         " padding_value=" + std::string(padding.begin(), end);
}

at::Tensor read_statistic(const Checkpoint& file, const std::string& name, std::int64_t channels) {
  const std::string shape = "a float tensor of shape (" + std::to_string(channels) + ")";
  const CheckpointTensor* tensor = file.find(name);
  if (!tensor) throw CheckpointError(file.path(), name, "is missing", shape);
  const at::Tensor value = file.read(name);
  if (!value.is_floating_point() || value.dim() != 1 || value.size(0) != channels) {
    throw CheckpointError(file.path(), name,
                          "has dtype " + tensor->dtype_name + " and " +
                              std::to_string(value.dim()) + " dimensions, " +
                              std::to_string(value.numel()) + " values",
                          shape);
  }
  return value;
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
    if (!state) {
      throw UsageError("", "--states", "\"" + quote_bytes(word) + "\" is no number",
                       "\"all\", or numbers from " + range + " with commas between them");
    }
    if (*state < 0 || *state > num_hidden_layers) {
      throw UsageError("", "--states", quote_bytes(word) + " is not one of the model's", range);
    }
    states.push_back(*state);
  }
  std::sort(states.begin(), states.end());
  states.erase(std::unique(states.begin(), states.end()), states.end());
  return states;
}

SeamlessM4TFeatureExtractorConfig feature_settings(const std::string& model) {
  if (model.empty()) return {};
  return SeamlessM4TFeatureExtractorConfig::from_pretrained(resolve_model(model).path);
}

Fingerprint features_fingerprint(const SeamlessM4TFeatureExtractorConfig& features,
                                 const AudioOptions& audio) {
  Fingerprint fingerprint = fingerprint_of("features");
  fingerprint.fields.emplace_back("feature_extractor", numbers_of(features));
  add_audio(fingerprint, audio);
  return fingerprint;
}

std::string model_identity(const std::string& model_directory,
                           const std::vector<std::string>& weight_files) {
  Sha256 sha;
  for (const char* name : {"config.json", "processor_config.json", "preprocessor_config.json"}) {
    const std::string path = model_directory + "/" + name;
    std::string text;
    if (exists(path)) text = read_small_file<ConfigError>(path, kMaxConfigBytes);
    sha.add(std::to_string(text.size()) + ":" + text);
  }
  for (const std::string& path : weight_files) {
    const auto file = InputFile::open<CheckpointError>(path);
    const std::string head = read_safetensors_head(file);
    const SafetensorsHeader header = parse_safetensors_header(head, file.size(), path);
    sha.add(head);
    std::string data;
    for (const TensorInfo& tensor : header.tensors) {
      data.resize(static_cast<std::size_t>(
          std::min(tensor.end - tensor.begin, kIdentityBytesPerTensor)));
      file.read_at(header.data_offset + tensor.begin, data.data(), data.size());
      sha.add(data);
    }
  }
  return sha.hex();
}

std::string lora_identity(const std::string& directory) {
  const LoraFiles files = find_lora(directory);
  LoraConfig::from_pretrained(directory);
  Sha256 sha;
  const std::string config = read_small_file<ConfigError>(files.config, kMaxConfigBytes);
  sha.add(std::to_string(config.size()) + ":" + config);
  const auto file = InputFile::open<CheckpointError>(files.weights);
  parse_safetensors_header(read_safetensors_head(file), file.size(), files.weights);
  std::string block;
  for (std::uint64_t at = 0; at < file.size(); at += block.size()) {
    block.resize(static_cast<std::size_t>(std::min(file.size() - at, kIdentityBlockBytes)));
    file.read_at(at, block.data(), block.size());
    sha.add(block);
  }
  return sha.hex();
}

Extraction::Extraction(ModelRequest request, const std::string& states, const std::string& stats)
    : request_(std::move(request)) {
  const ModelDirectory model = resolve_model(request_.model);
  directory_ = model.path;
  config_ = load_config(request_, directory_);
  engine_ = choose_engine(request_.engine, config_, request_.device, request_.dtype);
  features_ = load_features(config_, directory_);
  if (!states.empty()) states_ = parse_states(states, config_.num_hidden_layers);
  if (!stats.empty()) {
    const Checkpoint file = Checkpoint::open(stats);
    // The states are the encoder's; only last_hidden_state is what an adapter makes of them.
    const bool of_adapter = states_.empty() && config_.add_adapter;
    const std::int64_t channels = of_adapter ? config_.adapter_size() : config_.hidden_size;
    mean_ = read_statistic(file, "mean", channels);
    var_ = read_statistic(file, "var", channels);
    Sha256 sha;
    for (const at::Tensor& value : {mean_, var_}) {
      const at::Tensor wide = value.to(at::kDouble);  // holds every float type's values exactly
      sha.add(std::string(c10::toString(value.scalar_type())) + ":");
      sha.add(std::span(static_cast<const std::byte*>(wide.const_data_ptr()), wide.nbytes()));
    }
    stats_digest_ = sha.hex();
  }
  model_identity_ = model_identity(directory_, model.weight_files);
  if (!request_.lora.empty()) lora_identity_ = lora_identity(request_.lora);
}

Fingerprint Extraction::fingerprint(const AudioOptions& audio) const {
  Fingerprint fingerprint = fingerprint_of("extract");
  auto& fields = fingerprint.fields;
  fields.emplace_back("model", model_identity_);
  fields.emplace_back("states", states_name(states_));
  fields.emplace_back("stats", stats_digest_.empty() ? "none" : stats_digest_);
  fields.emplace_back("dtype", dtype_name(request_.dtype));
  fields.emplace_back("device", request_.device.is_cpu() ? "cpu" : "cuda");
  fields.emplace_back("engine", engine_.name);
  if (engine_.name == "reference") {  // the fused engine has one way of its own
    fields.emplace_back("attn_implementation", request_.attn_implementation);
  }
  fields.emplace_back("prefix", request_.prefix);
  fields.emplace_back("lenient", request_.lenient ? "true" : "false");
  // Only then: runs without an adapter keep the fingerprint that they have always had.
  if (!lora_identity_.empty()) fields.emplace_back("lora", lora_identity_);
  add_audio(fingerprint, audio);
  return fingerprint;
}

ClipFunction Extraction::load(LoadReport* report) const {
  auto loaded = load_pretrained<Wav2Vec2BertModel>(directory_, load_options(request_, engine_));
  const std::shared_ptr<Engine> engine =
      make_engine(engine_, std::move(loaded.model), request_.dtype,
                  weight_reader(loaded.checkpoint, loaded.report));
  if (report) *report = std::move(loaded.report);

  std::vector<std::int64_t> wanted = states_;
  if (wanted.empty()) wanted.push_back(Engine::kLastHiddenState);
  const at::Tensor mean = mean_.defined() ? mean_.to(request_.device) : at::Tensor();
  const at::Tensor deviation = var_.defined() ? at::sqrt(var_.to(request_.device)) : at::Tensor();
  return [engine, wanted, mean, deviation](const EngineClip& clip) {
    const at::NoGradGuard no_grad;
    NamedTensors tensors;
    const auto states = engine->states({clip}, wanted).front();
    for (std::size_t i = 0; i < wanted.size(); ++i) {
      const std::string name = wanted[i] == Engine::kLastHiddenState
                                   ? "last_hidden_state"
                                   : "hidden_states." + std::to_string(wanted[i]);
      tensors.emplace_back(name, mean.defined() ? (states[i] - mean) / deviation : states[i]);
    }
    tensors.emplace_back("attention_mask", clip.attention_mask);
    return tensors;
  };
}

}  // namespace w2vbert
