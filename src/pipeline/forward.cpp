#include "w2vbert/pipeline/forward.h"

#include <ATen/ATen.h>
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <functional>
#include <map>
#include <sstream>
#include <utility>

#include "stopwatch.h"
#include "w2vbert/checkpoint/checkpoint.h"
#include "w2vbert/checkpoint/from_pretrained.h"
#include "w2vbert/checkpoint/model_directory.h"
#include "w2vbert/core/error.h"
#include "w2vbert/core/text.h"
#include "w2vbert/models/wav2vec2_bert_model.h"
#include "w2vbert/pipeline/place.h"

namespace w2vbert {
namespace {

using Inputs = std::map<std::string, at::Tensor>;

std::string sizes(const at::Tensor& tensor) {
  std::ostringstream text;
  text << tensor.scalar_type() << " " << tensor.sizes();
  return text.str();
}

at::Tensor input_of(const Inputs& inputs, const std::string& name) {
  const auto found = inputs.find(name);
  return found == inputs.end() ? at::Tensor() : found->second;
}

// (B, T), 0 and 1, as whole numbers or booleans.
void check_mask(const Inputs& inputs, const std::string& name, const at::Tensor& features,
                const std::string& path) {
  const at::Tensor mask = input_of(inputs, name);
  if (!mask.defined()) return;
  const std::string expected = "whole numbers 0 and 1 or booleans, (" +
                               std::to_string(features.size(0)) + ", " +
                               std::to_string(features.size(1)) + ")";
  if (mask.is_floating_point() || mask.is_complex() || mask.dim() != 2 ||
      mask.size(0) != features.size(0) || mask.size(1) != features.size(1)) {
    throw UsageError(path, name, "is " + sizes(mask), expected);
  }
  const at::Tensor numbers = mask.to(at::kLong);
  if (at::logical_and(numbers.ne(0), numbers.ne(1)).any().item<bool>()) {
    throw UsageError(path, name, "has values other than 0 and 1", expected);
  }
}

Inputs read_inputs(const std::string& path, const Wav2Vec2BertConfig& config,
                   const std::vector<std::string>& known) {
  const Checkpoint file = Checkpoint::open(path);
  std::string list;
  for (const std::string& name : known) list += (list.empty() ? "" : ", ") + name;
  Inputs inputs;
  for (const CheckpointTensor& tensor : file.tensors()) {
    if (std::find(known.begin(), known.end(), tensor.name) == known.end()) {
      throw UsageError(path, tensor.name, "is no input of this class", list);
    }
    inputs[tensor.name] = file.read(tensor.name);
  }
  const std::string shape =
      "floats (B, T, " + std::to_string(config.feature_projection_input_dim) + "), B and T 1 or more";
  const at::Tensor features = input_of(inputs, "input_features");
  if (!features.defined()) throw UsageError(path, "input_features", "is missing", shape);
  if (!features.is_floating_point() || features.dim() != 3 || features.size(0) == 0 ||
      features.size(1) == 0 || features.size(2) != config.feature_projection_input_dim) {
    throw UsageError(path, "input_features", "is " + sizes(features), shape);
  }
  check_mask(inputs, "attention_mask", features, path);
  check_mask(inputs, "mask_time_indices", features, path);
  return inputs;
}

void add_numbered(NamedTensors& outputs, const std::string& name,
                  const std::optional<std::vector<at::Tensor>>& tensors) {
  if (!tensors) return;
  for (std::size_t i = 0; i < tensors->size(); ++i) {
    outputs.emplace_back(name + "." + std::to_string(i), (*tensors)[i]);
  }
}

NamedTensors run_base_model(const ForwardRequest& request, const std::string& directory,
                            const Inputs& inputs, ForwardSummary& summary) {
  FromPretrainedOptions options;
  options.device = request.model.device;
  options.dtype = request.model.dtype;
  options.attn_implementation = request.model.attn_implementation;
  options.load.prefix = request.model.prefix;
  options.load.lenient = request.model.lenient;
  if (options.load.lenient) at::manual_seed(0);
  Stopwatch watch;
  auto loaded = load_pretrained<Wav2Vec2BertModel>(directory, options);
  summary.load_seconds = watch.seconds();
  summary.report = std::move(loaded.report);

  const auto device = request.model.device;
  at::Tensor mask = input_of(inputs, "attention_mask");
  at::Tensor masked_time = input_of(inputs, "mask_time_indices");
  if (mask.defined()) mask = mask.to(device);
  if (masked_time.defined()) masked_time = masked_time.to(device, at::kBool);
  ForwardOptions wanted;
  wanted.output_hidden_states = request.output_hidden_states;
  wanted.output_attentions = request.output_attentions;
  watch = Stopwatch();
  const Wav2Vec2BertBaseModelOutput result =
      loaded.model->forward(input_of(inputs, "input_features").to(device, request.model.dtype), mask,
                            masked_time, wanted);
  NamedTensors outputs;
  outputs.emplace_back("last_hidden_state", result.last_hidden_state);
  outputs.emplace_back("extract_features", result.extract_features);
  add_numbered(outputs, "hidden_states", result.hidden_states);
  add_numbered(outputs, "attentions", result.attentions);
  for (auto& [name, tensor] : outputs) tensor = tensor.to(at::kCPU).contiguous();
  summary.compute_seconds = watch.seconds();
  return outputs;
}

struct Architecture {
  std::vector<std::string> inputs;
  std::function<NamedTensors(const ForwardRequest&, const std::string& directory, const Inputs&,
                             ForwardSummary&)>
      run;
};

const std::map<std::string, Architecture>& architectures() {
  static const std::map<std::string, Architecture> kArchitectures = {
      {"Wav2Vec2BertModel",
       {{"input_features", "attention_mask", "mask_time_indices"}, run_base_model}},
  };
  return kArchitectures;
}

}  // namespace

const std::vector<std::string>& supported_architectures() {
  static const std::vector<std::string> kNames = [] {
    std::vector<std::string> names;
    for (const auto& [name, architecture] : architectures()) names.push_back(name);
    return names;
  }();
  return kNames;
}

ForwardSummary run_forward(const ForwardRequest& request) {
  const at::NoGradGuard no_grad;
  const ModelDirectory model = resolve_model(request.model.model);
  const std::string config_path = model.path + "/config.json";
  Wav2Vec2BertConfig config = Wav2Vec2BertConfig::from_pretrained(model.path);
  config.attn_implementation = request.model.attn_implementation;
  config.validate(config_path);
  ForwardSummary summary;
  std::string list;
  for (const std::string& name : supported_architectures()) list += (list.empty() ? "" : ", ") + name;
  if (config.architectures.empty()) {
    throw ConfigError(config_path, "architectures", "names no class", list);
  }
  summary.architecture = config.architectures.front();
  const auto found = architectures().find(summary.architecture);
  if (found == architectures().end()) {
    throw ConfigError(config_path, "architectures",
                      "names " + quote_bytes(summary.architecture) + ", which is not there yet", list);
  }
  const Inputs inputs = read_inputs(request.input, config, found->second.inputs);
  check_output_file(request.output, request.input);
  const NamedTensors outputs = found->second.run(request, model.path, inputs, summary);
  for (const auto& [name, tensor] : outputs) summary.outputs.push_back(name);
  write_safetensors(request.output, outputs, {}, IfPresent::kReplace);
  return summary;
}

}  // namespace w2vbert
