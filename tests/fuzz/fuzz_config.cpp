#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>

#include "config/lora_config.h"
#include "message.h"
#include "w2vbert/config/seamless_m4t_feature_extractor_config.h"
#include "w2vbert/config/wav2vec2_bert_config.h"
#include "w2vbert/core/error.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  try {
    const auto config = w2vbert::Wav2Vec2BertConfig::from_json(text, "config.json");
    config.validate();
    if (config.head_size() < 1 || config.hidden_size % config.num_attention_heads != 0)
      std::abort();
    if (!(config.parameter_count() > 0 && config.parameter_count() < 1e12)) std::abort();
    if (config.num_labels < 1000) {  // what is saved takes room for each
      const std::string saved = config.to_json();
      if (w2vbert::Wav2Vec2BertConfig::from_json(saved, "saved").to_json() != saved) std::abort();
    }
  } catch (const w2vbert::ConfigError& error) {
    w2vbert::check_message(error.what());
  }
  try {
    const auto config =
        w2vbert::SeamlessM4TFeatureExtractorConfig::from_json(text, "preprocessor_config.json");
    config.validate();
    if (!std::isfinite(config.padding_value)) std::abort();
    const std::string saved = config.to_json();
    if (w2vbert::SeamlessM4TFeatureExtractorConfig::from_json(saved, "saved").to_json() != saved) {
      std::abort();
    }
  } catch (const w2vbert::ConfigError& error) {
    w2vbert::check_message(error.what());
  }
  try {
    const auto config = w2vbert::LoraConfig::from_json(text, "adapter_config.json");
    const std::string module = "encoder.layers.0.self_attn.linear_q";
    if (config.targets(module) && !std::isfinite(config.scaling_of(module))) std::abort();
  } catch (const w2vbert::ConfigError& error) {
    w2vbert::check_message(error.what());
  }
  return 0;
}
