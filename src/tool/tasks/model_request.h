// Which model is asked for, and how it is to run.
#pragma once

#include <c10/core/Device.h>
#include <c10/core/ScalarType.h>

#include <memory>
#include <string>

#include "w2vbert/checkpoint/from_pretrained.h"
#include "w2vbert/config/seamless_m4t_feature_extractor_config.h"
#include "w2vbert/engine/engine.h"

namespace w2vbert::tool {

struct ModelRequest {
  std::string model;  // directory or Hub id
  c10::Device device = c10::Device(c10::kCPU);
  c10::ScalarType dtype = c10::ScalarType::Float;  // Char: int8
  std::string engine = "fused";
  std::string attn_implementation = "sdpa";
  bool lenient = false;
  std::string prefix;
  std::string lora;  // directory of a PEFT adapter that is merged into the weights; "": none
};

// The config in `directory`, with the attention asked for and validated. Throws ConfigError.
Wav2Vec2BertConfig load_config(const ModelRequest& request, const std::string& directory);

// The settings of the feature extractor in `directory`, whose rows fit that config. Throws
// ConfigError.
SeamlessM4TFeatureExtractorConfig load_features(const Wav2Vec2BertConfig& config,
                                                const std::string& directory);

// How it is loaded. For a lenient load this seeds LibTorch's generator: what is initialised then is
// the same in every run. What the fused engine packs is left in the file for weight_reader, where
// nothing has to be done to it before.
FromPretrainedOptions load_options(const ModelRequest& request, const EngineChoice& engine);

// Reads what the load of `checkpoint` left there.
FusedEncoder::WeightReader weight_reader(std::shared_ptr<const Checkpoint> checkpoint,
                                         const LoadReport& report);

}  // namespace w2vbert::tool
