#include "tool/tasks/model_request.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <utility>

#include "checkpoint/missing_weights.h"
#include "core/file.h"
#include "core/memory.h"
#include "w2vbert/checkpoint/lora.h"
#include "w2vbert/core/error.h"

namespace w2vbert::tool {

Wav2Vec2BertConfig load_config(const ModelRequest& request, const std::string& directory) {
  check_config(directory);
  Wav2Vec2BertConfig config = Wav2Vec2BertConfig::from_pretrained(directory, request.hf_version,
                                                                  request.attn_implementation);
  if (!request.lora.empty()) take_sizes_of_lora(config, request.lora);
  config.validate(join_path(directory, "config.json"));
  return config;
}

SeamlessM4TFeatureExtractorConfig load_features(const Wav2Vec2BertConfig& config,
                                                const std::string& directory) {
  auto features = SeamlessM4TFeatureExtractorConfig::from_pretrained(directory);
  if (features.num_mel_bins * features.stride != config.feature_projection_input_dim) {
    throw ConfigError(directory, "feature_projection_input_dim",
                      "is " + std::to_string(config.feature_projection_input_dim),
                      "num_mel_bins x stride = " + std::to_string(features.num_mel_bins) + " x " +
                          std::to_string(features.stride) + " of the feature extractor");
  }
  return features;
}

std::vector<ModelRequest> for_each_device(const ModelRequest& request) {
  std::vector<ModelRequest> requests = {request};
  requests.front().more_devices.clear();
  for (const c10::Device device : request.more_devices) {
    requests.push_back(requests.front());
    requests.back().device = device;
  }
  return requests;
}

std::int64_t frames_on_devices(const ModelRequest& request, const Wav2Vec2BertConfig& config,
                               const SeamlessM4TFeatureExtractorConfig& features,
                               const DeviceBatches& batches) {
  constexpr double kMaxSeconds = 320;  // some 16,000 rows (docs/gpu.md)
  constexpr double kMinSeconds = 5;
  std::int64_t frames = features.frames_of(kMaxSeconds);
  for (const ModelRequest& one : for_each_device(request)) {
    if (const auto free_bytes = free_memory(one.device)) {
      frames = std::min(frames, device_batch_frames(config, batches, *free_bytes));
    }
  }
  // What is downloaded waits in the host's memory: of each batch on a device, of one more that has
  // been computed, and in the writer.
  const std::int64_t functions = request.devices() * batches.at_once;
  const auto state_bytes = static_cast<std::int64_t>(batches.states) * config.hidden_size *
                           static_cast<std::int64_t>(c10::elementSize(batches.output_dtype));
  frames = std::min(frames, usable_memory() / 4 / (3 * functions) / state_bytes);
  return std::max(frames, features.frames_of(kMinSeconds));
}

EngineChoice joint_choice(EngineChoice all, const EngineChoice& one, c10::Device device) {
  if (all.kind != one.kind) return all.kind == EngineKind::device ? one : all;
  if (all.steps.substr(0, all.steps.find("; on ")) != one.steps) {
    all.steps += "; on " + device.str() + " " + one.steps;
  }
  return all;
}

EngineChoice choose_engine(const ModelRequest& request, const Wav2Vec2BertConfig& config) {
  const auto choose = [&](c10::Device device) {
    return w2vbert::choose_engine(request.engine, config, device, request.precision);
  };
  EngineChoice choice = choose(request.device);
  for (const c10::Device device : request.more_devices) {
    choice = joint_choice(std::move(choice), choose(device), device);
  }
  return choice;
}

FromPretrainedOptions load_options(const ModelRequest& request, const EngineChoice& engine) {
  FromPretrainedOptions options;
  options.device = request.device;
  options.dtype = engine.parameter_dtype();
  options.attn_implementation = request.attn_implementation;
  options.hf_version = request.hf_version;
  options.load.prefix = request.prefix;
  options.load.lenient = request.lenient;
  if (!request.lora.empty()) options.lora = request.lora;
  options.lora_prefix = request.lora_prefix;
  if (request.lenient) at::manual_seed(0);
  return options;
}

}  // namespace w2vbert::tool
