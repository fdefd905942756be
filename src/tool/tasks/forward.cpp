#include "tool/tasks/forward.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <map>
#include <optional>
#include <sstream>
#include <utility>

#include "core/file.h"
#include "core/stopwatch.h"
#include "core/text.h"
#include "tool/store/writable.h"
#include "w2vbert/checkpoint/checkpoint.h"
#include "w2vbert/checkpoint/from_pretrained.h"
#include "w2vbert/checkpoint/model_directory.h"
#include "w2vbert/core/error.h"
#include "w2vbert/models/any_model.h"

namespace w2vbert::tool {
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
  Inputs inputs;
  for (const CheckpointTensor& tensor : file.tensors()) {
    if (std::find(known.begin(), known.end(), tensor.name) == known.end()) {
      throw UsageError(path, tensor.name, "is no input of this class", comma_list(known));
    }
    inputs[tensor.name] = file.read(tensor.name);
  }
  const std::string shape = "floats (B, T, " + std::to_string(config.feature_projection_input_dim) +
                            "), B and T 1 or more";
  const at::Tensor features = input_of(inputs, "input_features");
  if (!features.defined()) throw UsageError(path, "input_features", "is missing", shape);
  if (!features.is_floating_point() || features.dim() != 3 || features.size(0) == 0 ||
      features.size(1) == 0 || features.size(2) != config.feature_projection_input_dim) {
    throw UsageError(path, "input_features", "is " + sizes(features), shape);
  }
  check_mask(inputs, "attention_mask", features, path);
  check_mask(inputs, "mask_time_indices", features, path);
  const at::Tensor labels = input_of(inputs, "labels");
  if (labels.defined() && (labels.is_floating_point() || labels.is_complex())) {
    throw UsageError(path, "labels", "is " + sizes(labels), "whole numbers");
  }
  return inputs;
}

NamedTensors run_model(const ForwardRequest& request, const std::string& directory,
                       const Inputs& inputs, ForwardSummary& summary) {
  Stopwatch watch;
  auto loaded = load_model<AnyModel>(request.model, summary.engine, directory);
  summary.load_seconds = watch.seconds();
  summary.report = std::move(loaded.report);

  const auto on_device = [&](const char* name, std::optional<at::ScalarType> dtype = {}) {
    const at::Tensor tensor = input_of(inputs, name);
    return tensor.defined() ? tensor.to(request.model.device, dtype.value_or(tensor.scalar_type()))
                            : tensor;
  };
  ModelInputs given;
  given.input_features = on_device("input_features", summary.engine.parameter_dtype());
  given.attention_mask = on_device("attention_mask");
  given.mask_time_indices = on_device("mask_time_indices", at::kBool);
  given.labels = on_device("labels", at::kLong);
  ForwardOptions wanted;
  if (request.output_hidden_states) wanted.output_hidden_states = true;
  if (request.output_attentions) wanted.output_attentions = true;
  watch = Stopwatch();
  NamedTensors outputs = loaded.model.forward(given, wanted);
  const bool narrow =
      request.model.precision == Precision::bfloat16;  // which a fused model's outputs are not
  for (auto& [name, tensor] : outputs) {
    tensor = tensor.to(at::kCPU, narrow ? at::kBFloat16 : tensor.scalar_type()).contiguous();
  }
  summary.compute_seconds = watch.seconds();
  return outputs;
}

}  // namespace

ForwardSummary run_forward(const ForwardRequest& request) {
  const at::NoGradGuard no_grad;
  const ModelDirectory model = resolve_model(request.model.model, request.model.revision);
  const std::string config_path = join_path(model.path, "config.json");
  const Wav2Vec2BertConfig config = load_config(request.model, model.path);
  ForwardSummary summary;
  summary.architecture = AnyModel::class_of(config, config_path);
  summary.engine = choose_engine(request.model, config);
  const bool attentions = request.output_attentions || config.output_attentions;
  if (summary.engine.kind == EngineKind::fused && attentions &&
      config.attn_implementation == "eager") {
    if (summary.engine.precision == Precision::int8) {
      throw UsageError("", "precision",
                       "int8 runs on the fused engine alone, which gives no attentions",
                       "another precision, or no attentions", "precision");
    }
    summary.engine.kind = EngineKind::reference;
    summary.engine.reason = "attentions are asked for";
  }
  const Inputs inputs = read_inputs(request.input, config, AnyModel::inputs(summary.architecture));
  check_output_file(request.output, request.input);
  const NamedTensors outputs = run_model(request, model.path, inputs, summary);
  for (const auto& [name, tensor] : outputs) summary.outputs.push_back(name);
  write_safetensors(request.output, outputs, {}, IfPresent::kReplace);
  return summary;
}

}  // namespace w2vbert::tool
