#include "tool/tasks/model_request.h"

#include <ATen/ATen.h>

#include "checkpoint/missing_weights.h"
#include "core/file.h"
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

EngineChoice choose_engine(const ModelRequest& request, const Wav2Vec2BertConfig& config) {
  return w2vbert::choose_engine(request.engine, config, request.device, request.precision);
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
