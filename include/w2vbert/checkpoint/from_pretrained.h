// A model directory (or Hub id) -> a module that is ready to run.
#pragma once

#include <torch/nn/module.h>

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <utility>

#include "w2vbert/checkpoint/checkpoint.h"
#include "w2vbert/checkpoint/load.h"
#include "w2vbert/config/hf_version.h"
#include "w2vbert/config/wav2vec2_bert_config.h"
#include "w2vbert/nn/initialization.h"

namespace w2vbert {

struct FromPretrainedOptions {
  c10::Device device = c10::Device(c10::kCPU);
  /// The parameters' dtype, whatever the file's. HF's default is the file's own ("auto").
  c10::ScalarType dtype = c10::ScalarType::Float;
  /// "sdpa" or "eager", in the place of what config.json asks for.
  std::optional<std::string> attn_implementation;
  HfVersion hf_version = kNewestHfVersion;        ///< Wav2Vec2BertConfig::hf_version
  std::optional<std::int64_t> num_hidden_layers;  ///< fewer than the file holds: the first ones
  /// Instead of the config's architectures[0], which AnyModel alone looks at.
  std::optional<std::string> architecture;
  /// Which revision of a Hub id: a branch, a tag, a commit or its beginning (resolve_model).
  std::optional<std::string> revision;
  /// Directory or Hub id ("org/name@revision") of a PEFT LoRA adapter, merged into the loaded
  /// weights (checkpoint/lora.h). A head that it brings replaces the model's, whatever its size,
  /// and may be missing there.
  std::optional<std::string> lora;
  std::string lora_prefix;  ///< MergeLoraOptions::prefix
  LoadOptions load;
};

template <class ModuleHolder>
struct Pretrained {
  ModuleHolder model{nullptr};
  Wav2Vec2BertConfig config;  ///< with the options' changes
  LoadReport report;
};

/// Where a model lies, and what it is.
struct PretrainedSource {
  std::string directory;
  Wav2Vec2BertConfig config;
};

/// Finds a model without reading its weights: a local directory or cached Hub id (resolve_model)
/// and its config.json with the options' changes. Throws CheckpointError for a model that is not
/// there, ConfigError for a config.json that is not there, is malformed, or does not hold with the
/// changes, UsageError for what is not a Hub id or a revision.
PretrainedSource find_pretrained(const std::string& path_or_id,
                                 const FromPretrainedOptions& options = {});

// For the templates below alone.
namespace detail {

// Makes a module of a directory's config. What the class says about it (ConfigError, which knows
// no file) names the directory's config.json.
void make_of_config_file(const std::string& directory, const std::function<void()>& make);

// What becomes of the values of parameters that are moved.
enum class ParameterValues {
  kept,
  unset,  // new memory without a look at the old one, which has not been touched yet
};

// Moves a module to the options' dtype and device. Buffers (the tables of position embeddings)
// keep their values, and their dtype as HF keeps it.
void place_module(torch::nn::Module& module, const FromPretrainedOptions& options,
                  ParameterValues values);

// options.load, with what options.lora replaces in `module`.
LoadOptions load_options_of(const FromPretrainedOptions& options, const torch::nn::Module& module);

// Merges options.lora, if there is one; its warnings are added to the report's.
void merge_lora_of(const FromPretrainedOptions& options, torch::nn::Module& module,
                   LoadReport& report);

}  // namespace detail

/// HF's `from_pretrained`: reads the config, builds the module, loads the weights (load_state_dict)
/// and merges the LoRA adapter, ends in eval mode. ModuleHolder is made with TORCH_MODULE and
/// constructed from the config. Throws ConfigError for a config.json or an adapter_config.json that
/// does not hold, or that the class does not support, and CheckpointError for files that are not
/// there, are damaged or do not fit; UsageError as find_pretrained.
template <class ModuleHolder>
Pretrained<ModuleHolder> load_pretrained(const std::string& path_or_id,
                                         const FromPretrainedOptions& options = {}) {
  PretrainedSource source = find_pretrained(path_or_id, options);
  Pretrained<ModuleHolder> result;
  const Checkpoint checkpoint = Checkpoint::open(source.directory);
  {
    std::optional<SkipInitialization> skip;
    if (!options.load.lenient) skip.emplace();  // every parameter is about to be read, or it fails
    detail::make_of_config_file(source.directory,
                                [&] { result.model = ModuleHolder(source.config); });
  }
  detail::place_module(
      *result.model, options,
      options.load.lenient ? detail::ParameterValues::kept : detail::ParameterValues::unset);
  result.report =
      load_state_dict(*result.model, checkpoint, detail::load_options_of(options, *result.model));
  detail::merge_lora_of(options, *result.model, result.report);
  result.model->eval();
  result.config = std::move(source.config);
  return result;
}

/// The model of load_pretrained(), for callers that need neither the config nor the report. Throws
/// as it does.
template <class ModuleHolder>
ModuleHolder from_pretrained(const std::string& path_or_id,
                             const FromPretrainedOptions& options = {}) {
  return load_pretrained<ModuleHolder>(path_or_id, options).model;
}

}  // namespace w2vbert
