// A PEFT LoRA adapter -> the weights of a module.
#pragma once

#include <torch/nn/module.h>

#include <cstdint>
#include <string>
#include <vector>

namespace w2vbert {

struct MergeLoraOptions {
  /// HF's base_model_prefix: an adapter of a class with a head fits the base model and the other
  /// way round, by the rule of LoadOptions.
  std::string base_model_prefix = "wav2vec2_bert";
  /// The module has fewer layers than the adapter's: what is for the further ones is left out.
  bool fewer_layers = false;
};

struct LoraReport {
  std::int64_t merged = 0;    ///< layers whose weight was changed
  std::int64_t replaced = 0;  ///< tensors taken as they are: biases, modules_to_save
  /// What the adapter has and this module cannot use: a head, further layers.
  std::vector<std::string> unused;
  std::vector<std::string> warnings;
};

/// The files of an adapter directory. Throws CheckpointError where one is missing;
/// adapter_model.bin is a pickle and never read.
struct LoraFiles {
  std::string config;   ///< adapter_config.json
  std::string weights;  ///< adapter_model.safetensors
};
LoraFiles find_lora(const std::string& directory);

/// What PEFT's PeftModel.from_pretrained and merge_and_unload do, with their operations in their
/// order (peft/tuners/lora/layer.py, 0.21): for Linear W += scale * B A, for Conv1d the two kernels
/// convolved, for Embedding the same transposed; in float32, or float64 where the weight is that.
/// Before that, trained biases and modules_to_save replace the module's own. Gradients are not
/// recorded; the parameters stay what they are, on their devices.
///
/// Strict: every tensor of the adapter has its place with the shape that the rank says, every layer
/// that target_modules names has its tensors. All of that is checked before anything is changed.
/// Throws ConfigError (adapter_config.json) or CheckpointError (adapter_model.safetensors) for the
/// first thing that does not fit. A head's tensors on the base model, and further layers where that
/// is allowed, are `unused`, with a warning.
LoraReport merge_lora(torch::nn::Module& module, const std::string& directory,
                      const MergeLoraOptions& options = {});

}  // namespace w2vbert
