// Which model is asked for, and how it is to run.
#pragma once

#include <c10/core/Device.h>

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "engine/device/device_copies.h"
#include "engine/device/device_memory.h"
#include "engine/device/device_model.h"
#include "w2vbert/checkpoint/from_pretrained.h"
#include "w2vbert/config/hf_version.h"
#include "w2vbert/config/seamless_m4t_feature_extractor_config.h"
#include "w2vbert/engine/engine.h"
#include "w2vbert/engine/fuse.h"

namespace w2vbert::tool {

struct ModelRequest {
  std::string model;     // directory or Hub id
  std::string revision;  // of a Hub id, or ""
  c10::Device device = c10::Device(c10::kCPU);
  // Others of its type, on which the model runs at the same time: clips are shared out among them.
  std::vector<c10::Device> more_devices;
  std::int64_t devices() const noexcept {
    return 1 + static_cast<std::int64_t>(more_devices.size());
  }
  Precision precision = Precision::float32;
  EngineKind engine = EngineKind::fused;
  std::optional<std::string> attn_implementation;  // else config.json's
  HfVersion hf_version = kNewestHfVersion;
  bool lenient = false;
  std::string prefix;
  std::string lora;  // directory or Hub id of a PEFT adapter that is merged into the weights, or ""
  std::string lora_prefix;  // what stands before the model's names in it
};

// The config in `directory`, with the attention asked for and the sizes of a head that the adapter
// brings, and validated. Throws ConfigError, CheckpointError.
Wav2Vec2BertConfig load_config(const ModelRequest& request, const std::string& directory);

// The settings of the feature extractor in `directory`, whose rows fit that config. Throws
// ConfigError.
SeamlessM4TFeatureExtractorConfig load_features(const Wav2Vec2BertConfig& config,
                                                const std::string& directory);

// The same request for each of its devices.
std::vector<ModelRequest> for_each_device(const ModelRequest& request);

// How many batches go through a device at the same time, in a thread each: beside the device engine
// the states of one batch are copied while the next one is computed.
inline std::int64_t batches_at_once(const EngineChoice& engine) {
  return engine.kind == EngineKind::device ? 2 : 1;
}

// Frames of a batch of the device engine: as many as make its products fast, or for which the free
// memory of each device suffices, and 5 seconds at least.
std::int64_t frames_on_devices(const ModelRequest& request, const Wav2Vec2BertConfig& config,
                               const SeamlessM4TFeatureExtractorConfig& features,
                               const DeviceBatches& batches);

// One function for each batch that is on the device at a time, in a stream of its own.
template <class Output>
std::vector<std::function<Output(const std::vector<EngineClip>&)>> in_streams(
    const std::function<Output(const std::vector<EngineClip>&)>& function, std::int64_t at_once,
    c10::Device device) {
  std::vector<std::function<Output(const std::vector<EngineClip>&)>> functions;
  for (std::int64_t i = 0; i < at_once; ++i) {
    const auto stream = std::make_shared<const DeviceStream>(device);
    functions.push_back([function, stream](const std::vector<EngineClip>& clips) {
      const DeviceStream::Use use(*stream);
      return function(clips);
    });
  }
  return functions;
}

// What a task's load() gives: for each device of the request what `load_on` loads there, as often
// as batches go through it at the same time. `report` is for the first device alone.
template <class Function, class LoadOn>  // Function load_on(const ModelRequest&, LoadReport*)
std::vector<Function> load_on_devices(const ModelRequest& request, const EngineChoice& engine,
                                      LoadReport* report, const LoadOn& load_on) {
  std::vector<Function> functions;
  for (const ModelRequest& one : for_each_device(request)) {
    const Function function = load_on(one, functions.empty() ? report : nullptr);
    for (Function& in_stream : in_streams(function, batches_at_once(engine), one.device)) {
      functions.push_back(std::move(in_stream));
    }
  }
  return functions;
}

// The choice for several devices: `all`, for those before, and `one`, for `device`. All run the
// same engine, so that it does not matter which of them a clip meets: one that cannot run the
// device engine keeps the others from it.
EngineChoice joint_choice(EngineChoice all, const EngineChoice& one, c10::Device device);

// Which engine runs it, on all devices. Throws as the library's choose_engine.
EngineChoice choose_engine(const ModelRequest& request, const Wav2Vec2BertConfig& config);

// How it is loaded. For a lenient load this seeds LibTorch's generator: what is initialised then is
// the same in every run.
FromPretrainedOptions load_options(const ModelRequest& request, const EngineChoice& engine);

// The model in `directory`, for the engine of that choice: its encoder is replaced where it is to
// be.
template <class ModuleHolder>
Pretrained<ModuleHolder> load_model(const ModelRequest& request, const EngineChoice& engine,
                                    const std::string& directory) {
  const FromPretrainedOptions options = load_options(request, engine);
  if (engine.kind == EngineKind::fused) {
    return load_fused<ModuleHolder>(directory, engine.precision, options);
  }
  Pretrained<ModuleHolder> loaded = load_pretrained<ModuleHolder>(directory, options);
  if (engine.kind == EngineKind::device) put_on_device_engine(*loaded.model, engine.precision);
  return loaded;
}

}  // namespace w2vbert::tool
