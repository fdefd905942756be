#include "tool/tasks/forward.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <iterator>
#include <map>
#include <optional>
#include <sstream>
#include <string_view>
#include <utility>

#include "checkpoint/safetensors_header.h"
#include "core/file.h"
#include "core/padding_mask.h"
#include "core/stopwatch.h"
#include "core/text.h"
#include "engine/reference_memory.h"
#include "models/head.h"
#include "tool/run/failure.h"
#include "tool/store/writable.h"
#include "tool/tasks/model_files.h"
#include "w2vbert/checkpoint/checkpoint.h"
#include "w2vbert/checkpoint/from_pretrained.h"
#include "w2vbert/checkpoint/model_directory.h"
#include "w2vbert/core/error.h"
#include "w2vbert/models/any_model.h"
#include "w2vbert/version.h"

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

// Makes a batch of one of the tensors of one clip, as `features` writes them.
void add_batch(Inputs& inputs, const std::string& class_name) {
  const auto features = inputs.find("input_features");
  if (features == inputs.end() || features->second.dim() != 2) return;
  std::map<std::string, std::int64_t> dimensions = {
      {"input_features", 2}, {"attention_mask", 1}, {"mask_time_indices", 1}};
  if (class_name == "Wav2Vec2BertForCTC") dimensions["labels"] = 1;
  if (class_name == "Wav2Vec2BertForAudioFrameClassification") dimensions["labels"] = 2;
  for (auto& [name, tensor] : inputs) {
    const auto found = dimensions.find(name);
    if (found != dimensions.end() && tensor.dim() == found->second) tensor = tensor.unsqueeze(0);
  }
}

void check_labels(const Inputs& inputs, const Wav2Vec2BertConfig& config,
                  const std::string& class_name, const std::string& path) {
  const at::Tensor labels = input_of(inputs, "labels");
  if (!labels.defined()) return;
  if (labels.is_floating_point() || labels.is_complex()) {
    throw UsageError(path, "labels", "is " + sizes(labels), "whole numbers");
  }
  const auto range = label_range(config, class_name);
  if (!range) return;
  const std::string outside = label_outside(labels.to(at::kLong), *range);
  if (!outside.empty()) throw UsageError(path, "labels", outside);
}

Inputs read_inputs(const std::string& path, const Wav2Vec2BertConfig& config,
                   const std::string& class_name) {
  const std::vector<std::string>& known = AnyModel::inputs(class_name);
  const Checkpoint file = Checkpoint::open(path);
  Inputs inputs;
  for (const CheckpointTensor& tensor : file.tensors()) {
    if (std::find(known.begin(), known.end(), tensor.name) == known.end()) {
      throw UsageError(path, tensor.name, "is no input of this class", comma_list(known));
    }
    inputs[tensor.name] = file.read(tensor.name);
  }
  add_batch(inputs, class_name);
  const std::string width = std::to_string(config.feature_projection_input_dim);
  const std::string shape = "floats (B, T, " + width + ") or (T, " + width + "), B and T 1 or more";
  const at::Tensor features = input_of(inputs, "input_features");
  if (!features.defined()) throw UsageError(path, "input_features", "is missing", shape);
  if (!features.is_floating_point() || features.dim() != 3 || features.size(0) == 0 ||
      features.size(1) == 0 || features.size(2) != config.feature_projection_input_dim) {
    throw UsageError(path, "input_features", "is " + sizes(features), shape);
  }
  check_mask(inputs, "attention_mask", features, path);
  check_mask(inputs, "mask_time_indices", features, path);
  check_labels(inputs, config, class_name, path);
  return inputs;
}

// In __metadata__.
constexpr const char* kVersionKey = "w2vbert";
constexpr const char* kHfVersionKey = "hf_version";
constexpr const char* kCommandKey = "command";
constexpr const char* kCommand = "forward";

// Whether a file is what this command has written: it says so itself. One of an earlier version,
// which does not, has all fields of a class; a single one may be anyone's.
bool is_result(const std::string& path) try {
  const auto file = InputFile::open<CheckpointError, StorageError>(path);
  const SafetensorsHeader header =
      parse_safetensors_header(read_safetensors_head(file), file.size(), path);
  if (header.metadata_value(kCommandKey) == kCommand &&
      !header.metadata_value(kVersionKey).empty()) {
    return true;
  }
  constexpr std::string_view kFields[] = {"last_hidden_state", "extract_features", "logits",
                                          "embeddings", "loss"};
  const bool has_fields_only =
      std::all_of(header.tensors.begin(), header.tensors.end(), [&](const HeaderTensor& tensor) {
        const std::string_view name = tensor.name;
        return std::find(std::begin(kFields), std::end(kFields), name) != std::end(kFields) ||
               name.starts_with("hidden_states.") || name.starts_with("attentions.");
      });
  return has_fields_only && header.metadata.empty() &&
         ((header.find("last_hidden_state") && header.find("extract_features")) ||
          (header.find("logits") && header.find("embeddings")));
} catch (const CheckpointError&) {
  return false;
}

// What HF returns in the type that was asked for: all outputs, but for the loss of CTC, which HF
// computes in float32.
void narrow_outputs(NamedTensors& outputs, const ForwardRequest& request,
                    const std::string& class_name) {
  const Precision precision = request.model.precision;
  if (precision != Precision::bfloat16 && precision != Precision::float16) return;
  for (auto& [name, tensor] : outputs) {
    if (name == "loss" && class_name == "Wav2Vec2BertForCTC") continue;
    const at::Tensor narrow = tensor.to(dtype_of(precision));
    at::Tensor bad = narrow.isinf();
    if (narrow.scalar_type() != tensor.scalar_type()) {
      bad = bad.logical_and(tensor.isfinite());  // a fused model's outputs are float32 until here
    } else if (precision == Precision::bfloat16 || name == "loss") {
      bad = at::zeros({}, at::kBool);  // what HF's model gives is infinite in float32 as well
    }
    if (bad.any().item<bool>()) {
      throw RangeError(request.input, name,
                       "holds " + number_text(tensor.masked_select(bad)[0].item<double>()),
                       "values up to " + number_text(-lowest_finite(narrow.scalar_type())) +
                           ", or a wider type than " + name_of(precision),
                       "precision");
    }
    tensor = narrow;
  }
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
  NamedTensors outputs;
  try {
    if (summary.engine.kind == EngineKind::reference && given.input_features.dim() == 3) {
      check_reference_memory(loaded.model.config(), given.input_features.size(0),
                             given.input_features.size(1), given.input_features.scalar_type(),
                             request.model.device);
    }
    outputs = loaded.model.forward(given, wanted);
  } catch (const c10::ValueError& error) {  // a tensor that does not fit
    throw UsageError(request.input, "", one_line(error));
  } catch (const c10::AcceleratorError&) {
    throw;
  } catch (const std::exception& error) {
    if (is_out_of_memory(error)) {
      throw UsageError(request.input, "", describe(std::current_exception()).message,
                       "fewer or shorter clips, or more memory");
    }
    const auto* torch_error = dynamic_cast<const c10::Error*>(&error);
    if (!torch_error || !given.labels.defined()) throw;
    // HF's losses raise LibTorch's errors, too.
    throw UsageError(request.input, "labels", one_line(*torch_error), "labels that the loss takes");
  }
  for (auto& [name, tensor] : outputs) tensor = tensor.cpu();
  narrow_outputs(outputs, request, summary.architecture);
  for (auto& [name, tensor] : outputs) tensor = tensor.contiguous();
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
  summary.attn_implementation = config.attn_implementation;
  summary.engine = choose_engine(request.model, config);
  const bool attentions = request.output_attentions || config.output_attentions;
  if (summary.engine.kind != EngineKind::reference && attentions &&
      config.attn_implementation == "eager") {
    if (summary.engine.precision == Precision::int8) {
      throw UsageError("", "precision",
                       "int8 runs on the fused engine alone, which gives no attentions",
                       "another precision, or no attentions", "precision");
    }
    summary.engine.kind = EngineKind::reference;
    summary.engine.reason = "attentions are asked for";
  }
  const Inputs inputs = read_inputs(request.input, config, summary.architecture);
  ProtectedFiles sources;
  sources.add(request.input, "the input");
  add_model_files(sources, request.model.model, request.model.revision, request.model.lora);
  OutputFile output(request.output, "output", sources, is_result);
  const NamedTensors outputs = run_model(request, model.path, inputs, summary);
  for (const auto& [name, tensor] : outputs) summary.outputs.push_back(name);
  output.put(stage_safetensors(output.path(), outputs,
                               {{kCommandKey, kCommand},
                                {kVersionKey, version()},
                                {kHfVersionKey, name_of(request.model.hf_version)}}));
  return summary;
}

}  // namespace w2vbert::tool
