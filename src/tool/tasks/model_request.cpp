#include "tool/tasks/model_request.h"

#include <ATen/ATen.h>

#include <utility>

#include "w2vbert/core/error.h"

namespace w2vbert::tool {
Wav2Vec2BertConfig load_config(const ModelRequest& request, const std::string& directory) {
  Wav2Vec2BertConfig config = Wav2Vec2BertConfig::from_pretrained(directory);
  config.attn_implementation = request.attn_implementation;
  config.validate(directory + "/config.json");
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

FromPretrainedOptions load_options(const ModelRequest& request, const EngineChoice& engine) {
  FromPretrainedOptions options;
  options.device = request.device;
  options.dtype = engine.parameters(request.dtype);
  options.attn_implementation = request.attn_implementation;
  options.load.prefix = request.prefix;
  options.load.lenient = request.lenient;
  if (!request.lora.empty()) options.lora = request.lora;
  if (request.lenient) at::manual_seed(0);
  if (engine.name == "fused" && !request.lenient && !options.lora) {
    options.load.leave = FusedEncoder::packs;
  }
  return options;
}

FusedEncoder::WeightReader weight_reader(std::shared_ptr<const Checkpoint> checkpoint,
                                         const LoadReport& report) {
  if (report.left.empty()) return {};
  return [checkpoint = std::move(checkpoint),
          left = report.left](const at::Tensor& parameter) -> FusedEncoder::RowReader {
    const auto found = left.find(parameter.unsafeGetTensorImpl());
    if (found == left.end()) return {};
    return [checkpoint, name = found->second](std::int64_t first, std::int64_t count, float* rows) {
      checkpoint->read_rows(name, first, count, rows);
    };
  };
}

}  // namespace w2vbert::tool
