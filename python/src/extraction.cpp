#include "extraction.h"

#include <ATen/ATen.h>
#include <pybind11/stl.h>

#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "audio/audio_limits.h"
#include "audio/channel_mean.h"
#include "audio/opened_audio.h"
#include "checkpoint/safetensors_writer.h"
#include "core/dtype.h"
#include "core/one_core.h"
#include "core/parse_number.h"
#include "core/text.h"
#include "core/threads.h"
#include "errors.h"
#include "tool/run/batch_runner.h"
#include "tool/run/clip_reader.h"
#include "tool/tasks/extraction.h"
#include "tool/tasks/preset.h"
#include "w2vbert/audio/audio_file.h"
#include "w2vbert/core/device.h"
#include "w2vbert/core/error.h"
#include "w2vbert/features/seamless_m4t_feature_extractor.h"

namespace py = pybind11;

namespace w2vbert::python {
namespace {

using OptionalTensor = std::optional<at::Tensor>;

OptionalTensor optional_of(at::Tensor tensor) {
  return tensor.defined() ? OptionalTensor(std::move(tensor)) : std::nullopt;
}

// `expected` is what follows the value in the error.
template <class Value>
Value checked(const std::optional<Value>& value, const char* setting, const std::string& text,
              const std::string& expected) {
  if (value) return *value;
  throw UsageError("", setting, in_quotes(text) + " is unknown", expected, setting);
}

// Turns audio into what the model gets of it. Its calls may be made on several threads at once.
class ClipFeatures {
 public:
  ClipFeatures(AudioOptions audio, const SeamlessM4TFeatureExtractorConfig& features)
      : audio_(std::move(audio)), extractor_(features) {}

  struct Clip {
    EngineClip features;
    double seconds = 0;  // of audio, after resampling
    std::string note;
  };

  Clip read_file(const std::string& path) const {
    return features_of_waveform(load_audio(path, audio_), path);
  }

  // The bytes of a file; `name` stands for its path in errors.
  Clip read_bytes(std::string content, const std::string& name) const {
    const auto file = InputFile::in_memory<AudioError>(name, std::move(content));
    return features_of_waveform(load_audio(file, audio_, [] {}), name);
  }

  // `samples` (S) or (channels, S) on the CPU; `name` stands for a path in errors.
  Clip take_samples(const at::Tensor& samples, int sample_rate_hz, const std::string& name) const {
    const at::Tensor values = one_channel(samples.to(at::kFloat), name).contiguous();
    Waveform waveform;
    waveform.samples.assign(values.const_data_ptr<float>(),
                            values.const_data_ptr<float>() + values.numel());
    waveform.sample_rate_hz = waveform.source_sample_rate_hz = sample_rate_hz;
    waveform.source_samples = values.numel();
    if (sample_rate_hz < kMinRateHz || sample_rate_hz > kMaxRateHz) {
      throw AudioError(name, "", "has " + std::to_string(sample_rate_hz) + " Hz",
                       std::to_string(kMinRateHz) + " to " + std::to_string(kMaxRateHz));
    }
    if (const auto bad = find_bad_sample(waveform.samples)) {
      throw AudioError(
          name, "",
          "has " + std::to_string(waveform.samples[*bad]) + " at sample " + std::to_string(*bad),
          "finite samples up to 32768");
    }
    return features_of_waveform(tool::load_samples(std::move(waveform), audio_, name), name);
  }

  std::int64_t sampling_rate() const { return extractor_.config().sampling_rate; }

 private:
  // (channels, S) -> (S), as a file's.
  at::Tensor one_channel(const at::Tensor& samples, const std::string& name) const {
    if (samples.dim() == 1) return samples;
    const std::int64_t channels = samples.size(0);
    if (channels < 1 || channels > AudioOptions::kMaxChannels) {
      throw AudioError(name, "", "has " + std::to_string(channels) + " channels",
                       "1 to " + std::to_string(AudioOptions::kMaxChannels));
    }
    if (audio_.channels == AudioOptions::Channels::first) return samples[0];
    if (audio_.channels == AudioOptions::Channels::one) {
      if (audio_.channel > channels) {
        throw AudioError(name, "", "has " + std::to_string(channels) + " channels",
                         "at least " + std::to_string(audio_.channel), "channels");
      }
      return samples[audio_.channel - 1];
    }
    const at::Tensor frames = samples.t().contiguous();  // (channels, S) -> (S, channels)
    at::Tensor mean = at::empty({frames.size(0)}, at::kFloat);
    auto* out = mean.mutable_data_ptr<float>();
    const auto* in = frames.const_data_ptr<float>();
    for (std::int64_t i = 0; i < frames.size(0); ++i) {
      out[i] = mean_of_channels(in + i * channels, static_cast<int>(channels));
    }
    return mean;
  }

  Clip features_of_waveform(const Waveform& waveform, const std::string& path) const {
    const at::NoGradGuard no_grad;
    const OneCore alone;  // the cores are the engine's
    return {tool::features_of(waveform, extractor_, path),
            static_cast<double>(waveform.samples.size()) / waveform.sample_rate_hz, waveform.note};
  }

  AudioOptions audio_;
  SeamlessM4TFeatureExtractor extractor_;
};

// A loaded model and what is made of clips with it (tool/tasks/extraction.h).
class Extraction {
 public:
  struct Settings {
    std::string model, revision, device, dtype, engine, states, state_weights, stats, preset,
        prefix, lora, lora_prefix;
    std::optional<std::string> attn_implementation, output_dtype, pool, resampler, channels;
    bool lenient = false, salvage = false, softmax = true;
    std::optional<double> max_seconds, batch_seconds, chunk_seconds, overlap_seconds;
  };

  explicit Extraction(const Settings& settings)
      : extraction_(request_of(settings), options_of(settings)),
        batch_frames_(extraction_.batch_frames(settings.batch_seconds)),
        function_(extraction_.load(batch_frames_, &report_).front()),
        runner_(function_, batch_frames_) {
    AudioOptions audio;
    audio.target_sample_rate_hz = static_cast<int>(extraction_.features().sampling_rate);
    const tool::BesidePreset given = beside_preset(settings);
    audio.resampler = given.resampler.value_or(audio.resampler);
    if (given.channels) {
      audio.channels = given.channels->channels;
      audio.channel = given.channels->channel;
    }
    audio.salvage = settings.salvage;
    audio.max_seconds = settings.max_seconds.value_or(0);
    if (!settings.preset.empty()) audio = with_way_of(tool::preset_named(settings.preset), audio);
    features_ = std::make_shared<const ClipFeatures>(audio, extraction_.features());
  }

  using Result = tool::BatchRunner<tool::ClipTensors>::Result;

  // One result for each clip: what is made of it, or what went wrong with it.
  std::vector<Result> run(const std::vector<ClipFeatures::Clip>& clips) {
    std::vector<EngineClip> inputs;
    inputs.reserve(clips.size());
    for (const ClipFeatures::Clip& clip : clips) inputs.push_back(clip.features);
    const std::lock_guard<std::mutex> lock(mutex_);
    return runner_.run(inputs);
  }

  std::shared_ptr<const ClipFeatures> features() const { return features_; }
  const std::vector<std::string>& warnings() const { return report_.warnings; }
  std::string engine() const { return name_of(extraction_.engine().kind); }
  std::string engine_reason() const { return extraction_.engine().reason; }
  std::vector<std::string> tensor_names() const { return extraction_.tensor_names(); }
  std::int64_t batch_frames() const { return batch_frames_; }
  // The type of a state's rows, and how many numbers each has.
  std::string output_dtype() const { return dtype_name(extraction_.output_dtype()); }
  std::int64_t output_width() const {
    return extraction_.row_bytes().front() /
           static_cast<std::int64_t>(c10::elementSize(extraction_.output_dtype()));
  }

 private:
  static tool::BesidePreset beside_preset(const Settings& settings) {
    tool::BesidePreset given{settings.states, settings.state_weights, settings.stats, {}, {}};
    if (settings.resampler) given.resampler = tool::parse_resampler(*settings.resampler);
    if (settings.channels) {
      given.channels = tool::parse_channels(*settings.channels, tool::EachChannel::refused);
    }
    return given;
  }

  static tool::ModelRequest request_of(const Settings& settings) {
    tool::ModelRequest request;
    request.model = settings.model;
    request.revision = settings.revision;
    request.device = parse_device(settings.device);
    request.precision = checked(precision_of(settings.dtype), "dtype", settings.dtype,
                                "float32, bfloat16, float16 or int8");
    request.engine =
        checked(engine_kind_of(settings.engine), "engine", settings.engine, "fused or reference");
    request.attn_implementation = settings.attn_implementation;
    request.lenient = settings.lenient;
    request.prefix = settings.prefix;
    request.lora = settings.lora;
    request.lora_prefix = settings.lora_prefix;
    return request;
  }

  static tool::ExtractionOptions options_of(const Settings& settings) {
    tool::ExtractionOptions options;
    options.fingerprint = false;
    options.states = settings.states;
    options.state_weights = settings.state_weights;
    options.softmax = settings.softmax;
    options.stats = settings.stats;
    if (!settings.preset.empty()) {
      check_beside(tool::preset_named(settings.preset), beside_preset(settings));
      options.preset = settings.preset;
    }
    if (settings.pool) options.pool = tool::parse_pool(*settings.pool);
    if (settings.overlap_seconds && !settings.chunk_seconds) {
      throw UsageError("", "overlap_seconds", "is given without chunk_seconds", "both",
                       "overlap_seconds");
    }
    if (settings.chunk_seconds) {
      options.chunk_seconds = *settings.chunk_seconds;
      options.overlap_seconds =
          settings.overlap_seconds.value_or(tool::default_overlap_seconds(options.chunk_seconds));
    }
    if (settings.output_dtype) {
      const auto precision = precision_of(*settings.output_dtype);
      const bool known = precision && *precision != Precision::int8;
      options.output_dtype =
          dtype_of(checked(known ? precision : std::nullopt, "output_dtype", *settings.output_dtype,
                           "float32, bfloat16 or float16"));
    }
    return with_weighted_sum(std::move(options));
  }

  tool::Extraction extraction_;
  std::int64_t batch_frames_;
  LoadReport report_;
  tool::BatchFunction function_;
  tool::BatchRunner<tool::ClipTensors> runner_;
  std::mutex mutex_;
  std::shared_ptr<const ClipFeatures> features_;
};

std::unique_ptr<Extraction> make_extraction(const Extraction::Settings& settings) {
  const py::gil_scoped_release no_gil;
  return std::make_unique<Extraction>(settings);
}

// A dictionary and a note (tool::ClipTensors), or the exception.
py::list run(Extraction& extraction, const std::vector<ClipFeatures::Clip>& clips) {
  std::vector<Extraction::Result> results;
  {
    const py::gil_scoped_release no_gil;
    results = extraction.run(clips);
  }
  py::list all;
  for (Extraction::Result& result : results) {
    if (result.failure) {
      all.append(exception_of(result.failure));
      continue;
    }
    py::dict tensors;
    for (auto& [name, tensor] : result.output.tensors) tensors[py::str(name)] = std::move(tensor);
    all.append(py::make_tuple(std::move(tensors), result.output.note));
  }
  return all;
}

using BatchFeatures = std::pair<at::Tensor, OptionalTensor>;

SeamlessM4TFeatureExtractor::Padding padding_of(const std::string& name) {
  using Padding = SeamlessM4TFeatureExtractor::Padding;
  if (name == "longest") return Padding::longest;
  if (name == "max_length") return Padding::max_length;
  TORCH_CHECK_VALUE(name == "do_not_pad", "padding: \"", name,
                    "\", expected longest, max_length or do_not_pad");
  return Padding::do_not_pad;
}

// (B, T, F) and (B, T), of clips (S).
BatchFeatures call_extractor(const SeamlessM4TFeatureExtractor& extractor,
                             const std::vector<at::Tensor>& clips, const std::string& padding,
                             std::optional<std::int64_t> pad_to_multiple_of,
                             std::optional<std::int64_t> max_length, bool truncation,
                             bool do_normalize_per_mel_bins, bool return_attention_mask) {
  const at::NoGradGuard no_grad;
  SeamlessM4TFeatureExtractor::Options options;
  options.padding = padding_of(padding);
  options.pad_to_multiple_of = pad_to_multiple_of;
  options.max_length = max_length;
  options.truncation = truncation;
  options.do_normalize_per_mel_bins = do_normalize_per_mel_bins;
  options.return_attention_mask = return_attention_mask;
  auto features = extractor(clips, options);
  return {std::move(features.input_features), optional_of(std::move(features.attention_mask))};
}

}  // namespace

void bind_extraction(py::module_& module) {
  const auto no_gil = py::call_guard<py::gil_scoped_release>();
  module.def("usable_cores", [] { return usable_cores(); });
  module.def("libav_version", [] { return libav_version(); });

  py::class_<ClipFeatures::Clip>(module, "Clip")
      .def_property_readonly(
          "frames",
          [](const ClipFeatures::Clip& clip) { return clip.features.input_features.size(0); })
      .def_readonly("seconds", &ClipFeatures::Clip::seconds)
      .def_readonly("note", &ClipFeatures::Clip::note);
  py::class_<ClipFeatures, std::shared_ptr<ClipFeatures>>(module, "ClipFeatures")
      .def("read_file", &ClipFeatures::read_file, py::arg("path"), no_gil)
      .def(
          "read_bytes",
          [](const ClipFeatures& features, const py::bytes& content, const std::string& name) {
            std::string bytes = content;
            const py::gil_scoped_release released;
            return features.read_bytes(std::move(bytes), name);
          },
          py::arg("content"), py::arg("name"))
      .def("take_samples", &ClipFeatures::take_samples, py::arg("samples"),
           py::arg("sample_rate_hz"), py::arg("name"), no_gil)
      .def_property_readonly("sampling_rate", &ClipFeatures::sampling_rate);

  using Settings = Extraction::Settings;
  py::class_<Settings>(module, "ExtractionSettings")
      .def(py::init<>())
      .def_readwrite("model", &Settings::model)
      .def_readwrite("revision", &Settings::revision)
      .def_readwrite("device", &Settings::device)
      .def_readwrite("dtype", &Settings::dtype)
      .def_readwrite("engine", &Settings::engine)
      .def_readwrite("states", &Settings::states)
      .def_readwrite("state_weights", &Settings::state_weights)
      .def_readwrite("softmax", &Settings::softmax)
      .def_readwrite("stats", &Settings::stats)
      .def_readwrite("preset", &Settings::preset)
      .def_readwrite("resampler", &Settings::resampler)
      .def_readwrite("channels", &Settings::channels)
      .def_readwrite("prefix", &Settings::prefix)
      .def_readwrite("lora", &Settings::lora)
      .def_readwrite("lora_prefix", &Settings::lora_prefix)
      .def_readwrite("attn_implementation", &Settings::attn_implementation)
      .def_readwrite("output_dtype", &Settings::output_dtype)
      .def_readwrite("lenient", &Settings::lenient)
      .def_readwrite("salvage", &Settings::salvage)
      .def_readwrite("max_seconds", &Settings::max_seconds)
      .def_readwrite("batch_seconds", &Settings::batch_seconds)
      .def_readwrite("chunk_seconds", &Settings::chunk_seconds)
      .def_readwrite("overlap_seconds", &Settings::overlap_seconds)
      .def_readwrite("pool", &Settings::pool);
  py::class_<Extraction>(module, "Extraction")
      .def(py::init(&make_extraction), py::arg("settings"))
      .def("run", &run, py::arg("clips"))
      .def_property_readonly("features",
                             [](const Extraction& extraction) {
                               return std::const_pointer_cast<ClipFeatures>(extraction.features());
                             })
      .def_property_readonly("warnings", &Extraction::warnings)
      .def_property_readonly("engine", &Extraction::engine)
      .def_property_readonly("engine_reason", &Extraction::engine_reason)
      .def_property_readonly("tensor_names", &Extraction::tensor_names)
      .def_property_readonly("batch_frames", &Extraction::batch_frames)
      .def_property_readonly("output_dtype", &Extraction::output_dtype)
      .def_property_readonly("output_width", &Extraction::output_width);

  py::class_<SeamlessM4TFeatureExtractor>(module, "FeatureExtractor")
      .def(py::init([](const std::string& config) {
             return SeamlessM4TFeatureExtractor(
                 SeamlessM4TFeatureExtractorConfig::from_json(config, "the feature extractor"));
           }),
           py::arg("config"))
      .def("__call__", &call_extractor, py::arg("clips"), py::arg("padding"),
           py::arg("pad_to_multiple_of"), py::arg("max_length"), py::arg("truncation"),
           py::arg("do_normalize_per_mel_bins"), py::arg("return_attention_mask"), no_gil);
}

}  // namespace w2vbert::python
