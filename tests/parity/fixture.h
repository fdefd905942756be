// Reads what scripts/export_parity_fixtures.py has written.
#pragma once

#include <torch/types.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "w2vbert/checkpoint/checkpoint.h"
#include "w2vbert/checkpoint/from_pretrained.h"
#include "w2vbert/core/error.h"
#include "w2vbert/models/wav2vec2_bert_model.h"

namespace w2vbert::testing {

// One case: the model it was run on, and every tensor that PyTorch had.
struct Case {
  std::string name;
  std::string model_directory;
  Checkpoint tensors;
  std::map<std::string, std::string> settings;
  torch::Device device = torch::kCPU;

  // Undefined when the case has none of this name.
  torch::Tensor tensor(const std::string& name_in_case) const {
    return tensors.find(name_in_case) ? tensors.read(name_in_case).to(device) : torch::Tensor();
  }
  torch::ScalarType dtype() const {
    const auto& name_of_dtype = settings.at("dtype");
    if (name_of_dtype == "bfloat16") return torch::kBFloat16;
    return name_of_dtype == "float16" ? torch::kHalf : torch::kFloat;
  }
  bool flag(const std::string& key) const { return settings.at(key) == "1"; }

  Wav2Vec2BertModel load_model() const {
    FromPretrainedOptions options;
    options.device = device;
    options.dtype = dtype();
    options.attn_implementation = settings.at("attn_implementation");
    auto model = from_pretrained<Wav2Vec2BertModel>(model_directory, options);
    model->train(flag("train"));
    return model;
  }
};

inline std::vector<Case> read_cases(const std::string& root, torch::Device device = torch::kCPU) {
  std::vector<Case> cases;
  std::vector<std::string> paths;
  for (const auto& entry : std::filesystem::directory_iterator(root + "/cases")) {
    paths.push_back(entry.path());
  }
  std::sort(paths.begin(), paths.end());
  for (const auto& path : paths) {
    Case one{std::filesystem::path(path).stem(), "", Checkpoint::open(path), {}, device};
    const auto file = InputFile::open<CheckpointError>(path);
    const auto header = parse_safetensors_header(read_safetensors_head(file), file.size(), path);
    for (const auto& [key, value] : header.metadata) one.settings[key] = value;
    const auto& model = one.settings.at("model");
    one.model_directory = model.starts_with("/") ? model : root + "/models/" + model;
    cases.push_back(std::move(one));
  }
  return cases;
}

// How far two tensors are apart: values that differ in any bit (NaN equal to NaN), and the largest
// difference.
struct Difference {
  std::int64_t values = 0;
  double largest = 0.0;
};

inline Difference difference(const torch::Tensor& ours, const torch::Tensor& theirs) {
  const auto differs = ours.ne(theirs).logical_and(ours.isnan().logical_and(theirs.isnan()).logical_not());
  const auto delta = (ours.to(torch::kDouble) - theirs.to(torch::kDouble)).abs();
  return {differs.sum().item<std::int64_t>(),
          torch::where(differs, delta, torch::zeros_like(delta)).max().item<double>()};
}

// The outputs of one mirrored module for PyTorch's inputs; empty for classes that are not compared.
inline std::vector<torch::Tensor> replay(torch::nn::Module& module, const Case& one, const std::string& name) {
  const auto input = [&](const char* argument) {
    return one.tensor("modules/" + name + "/input/" + argument);
  };
  if (auto* linear = module.as<Linear>()) return {linear->forward(input("input"))};
  if (auto* norm = module.as<torch::nn::LayerNorm>()) return {norm->forward(input("input"))};
  if (auto* conv = module.as<torch::nn::Conv1d>()) return {conv->forward(input("input"))};
  if (auto* ffn = module.as<Wav2Vec2BertFeedForward>()) return {ffn->forward(input("hidden_states"))};
  if (auto* convolution = module.as<Wav2Vec2BertConvolutionModule>()) {
    return {convolution->forward(input("hidden_states"), input("attention_mask"))};
  }
  if (auto* attention = module.as<Wav2Vec2BertSelfAttention>()) {
    const auto output = attention->forward(input("hidden_states"), input("attention_mask"));
    if (!output.attn_weights.defined()) return {output.attn_output};
    return {output.attn_output, output.attn_weights};
  }
  if (auto* layer = module.as<Wav2Vec2BertEncoderLayer>()) {
    return {layer->forward(input("hidden_states"), input("attention_mask"),
                           input("conv_attention_mask"))
                .hidden_states};
  }
  if (auto* projection = module.as<Wav2Vec2BertFeatureProjection>()) {
    const auto output = projection->forward(input("hidden_states"));
    return {output.hidden_states, output.norm_hidden_states};
  }
  return {};
}

}  // namespace w2vbert::testing
