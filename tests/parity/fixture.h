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
#include "w2vbert/models/any_model.h"
#include "w2vbert/models/wav2vec2_bert_model.h"
#include "w2vbert/nn/am_softmax_loss.h"
#include "w2vbert/nn/tdnn_layer.h"

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
    if (!tensors.find(name_in_case)) return {};
    const auto value = tensors.read(name_in_case).to(device);
    const auto names = settings.find("transposed");
    const bool transposed = names != settings.end() && ("," + names->second + ",")
                                                           .find("," + name_in_case + ",") !=
                                                       std::string::npos;
    if (!transposed) return value;
    const auto turned = value.transpose(1, 2);
    return torch::empty(turned.sizes(), value.options()).copy_(turned).transpose(1, 2);
  }
  torch::ScalarType dtype() const {
    const auto& name_of_dtype = settings.at("dtype");
    if (name_of_dtype == "bfloat16") return torch::kBFloat16;
    return name_of_dtype == "float16" ? torch::kHalf : torch::kFloat;
  }
  bool flag(const std::string& key) const { return settings.at(key) == "1"; }

  // AnyModel: of the class that the checkpoint is of; Wav2Vec2BertModel: the base model in it.
  template <class Model>
  Model load() const {
    FromPretrainedOptions options;
    options.device = device;
    options.dtype = dtype();
    options.attn_implementation = settings.at("attn_implementation");
    auto model = from_pretrained<Model>(model_directory, options);
    model->train(flag("train"));
    return model;
  }

  ModelInputs inputs() const {
    return {tensor("inputs/input_features"), tensor("inputs/attention_mask"),
            tensor("inputs/mask_time_indices"), tensor("inputs/labels")};
  }

  // What PyTorch's activation modules call their argument: "input" or "x".
  std::string argument_of(const std::string& module) const {
    return tensors.find("modules/" + module + "/input/x") ? "x" : "input";
  }

  // Under AnyModel's names. The committed fixtures have a "/" before the number.
  torch::Tensor output(const std::string& name_of_output) const {
    auto value = tensor("outputs/" + name_of_output);
    const auto dot = name_of_output.find('.');
    if (value.defined() || dot == std::string::npos) return value;
    return tensor("outputs/" + name_of_output.substr(0, dot) + "/" + name_of_output.substr(dot + 1));
  }

  // How many outputs PyTorch had.
  std::size_t output_count() const {
    return static_cast<std::size_t>(
        std::count_if(tensors.tensors().begin(), tensors.tensors().end(),
                      [](const auto& one) { return one.name.starts_with("outputs/"); }));
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
  if (ours.numel() == 0) return {};
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
  // HF never calls the Linear that holds a TDNN layer's kernel.
  if (!one.tensors.find("modules/" + name + "/output/0")) return {};
  if (auto* linear = module.as<Linear>()) return {linear->forward(input("input"))};
  if (auto* norm = module.as<torch::nn::LayerNorm>()) return {norm->forward(input("input"))};
  if (auto* conv = module.as<torch::nn::Conv1d>()) return {conv->forward(input("input"))};
  if (auto* ffn = module.as<Wav2Vec2BertFeedForward>()) return {ffn->forward(input("hidden_states"))};
  if (auto* convolution = module.as<Wav2Vec2BertConvolutionModule>()) {
    return {convolution->forward(input("hidden_states"), input("attention_mask"))};
  }
  if (auto* attention = module.as<Wav2Vec2BertSelfAttention>()) {
    const auto output = attention->forward(input("hidden_states"), input("attention_mask"),
                                           input("relative_position_embeddings"));
    if (!output.attn_weights.defined()) return {output.attn_output};
    return {output.attn_output, output.attn_weights};
  }
  if (auto* layer = module.as<Wav2Vec2BertEncoderLayer>()) {
    return {layer->forward(input("hidden_states"), input("attention_mask"),
                           input("relative_position_embeddings"), input("conv_attention_mask"))
                .hidden_states};
  }
  if (auto* projection = module.as<Wav2Vec2BertFeatureProjection>()) {
    const auto output = projection->forward(input("hidden_states"));
    return {output.hidden_states, output.norm_hidden_states};
  }
  if (auto* activation = module.as<Activation>()) {
    return {activation->forward(input(one.argument_of(name).c_str()))};
  }
  if (auto* relative = module.as<Wav2Vec2BertRelPositionalEmbedding>()) {
    return {relative->forward(input("hidden_states"))};
  }
  if (auto* rotary = module.as<Wav2Vec2BertRotaryPositionalEmbedding>()) {
    return {rotary->forward(input("hidden_states"))};
  }
  if (auto* layer = module.as<Wav2Vec2BertAdapterLayer>()) {
    return {layer->forward(input("hidden_states"), input("sub_sampled_lengths"))};
  }
  if (auto* adapter = module.as<Wav2Vec2BertAdapter>()) {
    return {adapter->forward(input("hidden_states"), input("attention_mask"))};
  }
  if (auto* tdnn = module.as<TDNNLayer>()) return {tdnn->forward(input("hidden_states"))};
  if (auto* loss = module.as<AMSoftmaxLoss>()) {
    if (!input("labels").defined()) return {};
    return {loss->forward(input("hidden_states"), input("labels"))};
  }
  return {};
}

}  // namespace w2vbert::testing
