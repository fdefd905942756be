#include "support/small_model.h"

#include <torch/types.h>
#include <torch/utils.h>

#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "support/random_parameters.h"
#include "w2vbert/models/any_model.h"

namespace w2vbert::testing {
namespace {

constexpr const char* kConfig = R"({
  "architectures": ["Wav2Vec2BertModel"],
  "model_type": "wav2vec2-bert",
  "hidden_size": 32,
  "num_hidden_layers": 3,
  "num_attention_heads": 4,
  "intermediate_size": 48
}
)";

constexpr const char* kPreprocessorConfig = R"({
  "feature_extractor_type": "SeamlessM4TFeatureExtractor",
  "feature_size": 80,
  "num_mel_bins": 80,
  "padding_side": "right",
  "padding_value": 1.0,
  "return_attention_mask": true,
  "sampling_rate": 16000,
  "stride": 2
}
)";

}  // namespace

void make_small_model(const std::string& directory, const std::string& more) {
  std::filesystem::create_directories(directory);
  auto config = nlohmann::json::parse(kConfig);
  config.update(nlohmann::json::parse("{" + more + "}"));
  std::ofstream(directory + "/config.json") << config.dump(2);
  std::ofstream(directory + "/preprocessor_config.json") << kPreprocessorConfig;
  torch::manual_seed(0);
  AnyModel model(Wav2Vec2BertConfig::from_pretrained(directory));
  randomize_parameters(*model, 1);
  NamedTensors tensors;
  for (const auto& parameter : model->named_parameters()) {
    tensors.emplace_back(parameter.key(), parameter.value().detach());
  }
  write_safetensors(directory + "/model.safetensors", tensors, {{"format", "pt"}},
                    IfPresent::kReplace);
}

void make_small_lora(const std::string& directory, int seed) {
  constexpr std::int64_t kRank = 2;
  std::filesystem::create_directories(directory);
  std::ofstream(directory + "/adapter_config.json")
      << R"({"peft_type": "LORA", "r": 2, "lora_alpha": 3, "target_modules": ["linear_q"]})";
  torch::manual_seed(static_cast<std::uint64_t>(seed));
  NamedTensors tensors;
  for (std::int64_t layer = 0; layer < kSmallLayers; ++layer) {
    const std::string name =
        "base_model.model.encoder.layers." + std::to_string(layer) + ".self_attn.linear_q.";
    tensors.emplace_back(name + "lora_A.weight", torch::randn({kRank, kSmallHiddenSize}));
    tensors.emplace_back(name + "lora_B.weight", torch::randn({kSmallHiddenSize, kRank}));
  }
  write_safetensors(directory + "/adapter_model.safetensors", tensors, {{"format", "pt"}},
                    IfPresent::kReplace);
}

std::map<std::string, at::Tensor> tensors_of(const std::string& path) {
  const Checkpoint checkpoint = Checkpoint::open(path);
  std::map<std::string, at::Tensor> tensors;
  for (const CheckpointTensor& tensor : checkpoint.tensors()) {
    tensors[tensor.name] = checkpoint.read(tensor.name);
  }
  return tensors;
}

void change_tensors(const std::string& path,
                    const std::function<void(std::map<std::string, at::Tensor>&)>& change) {
  std::map<std::string, at::Tensor> tensors = tensors_of(path);
  change(tensors);
  write_safetensors(path, {tensors.begin(), tensors.end()}, {{"format", "pt"}},
                    IfPresent::kReplace);
}

}  // namespace w2vbert::testing
