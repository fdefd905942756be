// A PEFT LoRA adapter -> the weights of a module.
#pragma once

#include <torch/nn/module.h>

#include <cstdint>
#include <string>
#include <vector>

#include "w2vbert/config/wav2vec2_bert_config.h"

namespace w2vbert {

struct MergeLoraOptions {
  /// HF's base_model_prefix: an adapter of a class with a head fits the base model and the other
  /// way round, by the rule of LoadOptions.
  std::string base_model_prefix = "wav2vec2_bert";
  /// The module has fewer layers than the adapter's: what is for the further ones is left out.
  bool fewer_layers = false;
  /// What stands before the model's names in the adapter, behind PEFT's own "base_model.model.",
  /// such as "semantic_model."; the dot may be left out. Wanted only where the names of the model
  /// are in several places: one place is found by itself.
  std::string prefix;
};

struct LoraReport {
  std::int64_t merged = 0;    ///< layers whose weight was changed
  std::int64_t replaced = 0;  ///< tensors taken as they are: biases, modules_to_save
  /// What the adapter has and this module cannot use: a head, further layers.
  std::vector<std::string> unused;
  std::vector<std::string> warnings;
};

/// The files of an adapter, which is a directory or a Hub id (resolve_adapter). Throws
/// CheckpointError where one is missing; adapter_model.bin is a pickle and never read.
struct LoraFiles {
  std::string config;   ///< adapter_config.json
  std::string weights;  ///< adapter_model.safetensors
  std::string folder;   ///< of AdapterDirectory
};
LoraFiles find_lora(const std::string& path_or_id);

/// What PEFT's PeftModel.from_pretrained and merge_and_unload do, with their operations in their
/// order (peft/tuners/lora/layer.py, 0.21): for Linear W += scale * B A, for Conv1d the two kernels
/// convolved, for Embedding the same transposed; in float32, or float64 where the weight is that.
/// Before that, trained biases, modules_to_save and layers that were saved with their matrices
/// (save_embedding_layers) replace the module's own. Gradients are not recorded; the parameters
/// stay what they are, on their devices. Names are found behind what torch.compile, DataParallel,
/// FSDP or a module around the model put before them.
///
/// Strict: every tensor of the adapter has its place with the shape that the rank says, every layer
/// that target_modules names has its tensors. All of that is checked before anything is changed.
/// Throws ConfigError (adapter_config.json) or CheckpointError (adapter_model.safetensors) for the
/// first thing that does not fit. A head's tensors on the base model, and further layers where that
/// is allowed, are `unused`, with a warning.
LoraReport merge_lora(torch::nn::Module& module, const std::string& path_or_id,
                      const MergeLoraOptions& options = {});

/// The names of the module's parameters that merge_lora() replaces: their values before do not
/// matter (LoadOptions::replaced). Throws as merge_lora(); changes nothing.
std::vector<std::string> replaced_by_lora(const torch::nn::Module& module,
                                          const std::string& path_or_id,
                                          const MergeLoraOptions& options = {});

/// Gives the config the sizes of the head that the adapter brings, where it brings one: vocab_size,
/// num_labels (without the labels' names where their number is another), classifier_proj_size. So a
/// model that is built from the config takes the adapter's head. Throws CheckpointError.
void take_sizes_of_lora(Wav2Vec2BertConfig& config, const std::string& path_or_id);

}  // namespace w2vbert
