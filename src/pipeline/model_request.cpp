#include "w2vbert/pipeline/model_request.h"

#include <ATen/ATen.h>

namespace w2vbert {
Wav2Vec2BertConfig load_config(const ModelRequest& request, const std::string& directory) {
  Wav2Vec2BertConfig config = Wav2Vec2BertConfig::from_pretrained(directory);
  config.attn_implementation = request.attn_implementation;
  config.validate(directory + "/config.json");
  return config;
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
  return options;
}

}  // namespace w2vbert
