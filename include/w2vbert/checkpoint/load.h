// Checkpoint -> the parameters of any torch::nn::Module, by name.
#pragma once

#include <torch/nn/module.h>

#include <cstdint>
#include <functional>
#include <string>
#include <unordered_map>
#include <vector>

#include "w2vbert/checkpoint/checkpoint.h"

namespace w2vbert {

struct LoadOptions {
  /// Stands before every wanted name in the file, such as "semantic_model."; the dot may be left
  /// out. Tensors without it are not looked at.
  std::string prefix;
  /// HF's base_model_prefix: for each key, "wav2vec2_bert." is taken away if the module knows the
  /// rest, else put before it if the module knows that (transformers, core_model_loading.py).
  std::string base_model_prefix = "wav2vec2_bert";
  /// What is missing or of another shape or dtype keeps the values the module was built with, with
  /// a warning each, instead of being an error.
  bool lenient = false;
  /// The module's parameters for whose names this says yes are checked as all others, but their
  /// values stay in the file (LoadReport::left), for somebody who reads them in pieces. Null: all
  /// are read.
  std::function<bool(const std::string& name)> leave = {};
};

/// What a checkpoint and a module have in common. Names are the module's, except for `unexpected`.
struct LoadReport {
  struct Mismatch {
    std::string name;
    std::string problem;   ///< "has shape (4, 80)"
    std::string expected;  ///< "(4, 160)"
  };
  std::string path;
  std::vector<std::string> missing;
  std::vector<std::string> unexpected;  ///< the file's names: other heads, further layers; no error
  std::vector<Mismatch> mismatched;     ///< another shape, no float type, two tensors for one name
  /// Under lenient loading one "[Wav2Vec-BERT] ..." for each missing or mismatched name; otherwise
  /// an index that is not used, weights that are NaN throughout.
  std::vector<std::string> warnings;
  std::int64_t loaded = 0;
  /// A prefix under which the missing names are in the file, with its dot; HF would not find them.
  std::string prefix_found;
  /// Parameters that LoadOptions::leave left in the file, and their names there.
  std::unordered_map<const c10::TensorImpl*, std::string> left;

  bool complete() const { return missing.empty() && mismatched.empty(); }
  /// One line: how many of each, and the first names of what is wrong (at most 20, under 1.1 KB).
  std::string summary() const;
};

/// Compares names, shapes and dtypes of `module`'s parameters and buffers (without those of
/// nn/non_persistent_buffers.h) with the checkpoint, reading no tensor data and changing nothing;
/// the module's memory is not looked at (SkipInitialization). `loaded` is what load_state_dict
/// would load.
LoadReport compare_state_dict(const torch::nn::Module& module, const Checkpoint& checkpoint,
                              const LoadOptions& options = {});

/// Compares first and then copies, in the order of the file, converting F16, BF16, F32 and F64 to
/// the parameter's dtype and device. Strict (the default): anything missing or mismatched is one
/// CheckpointError that lists it, before anything is copied. Lenient or not, a checkpoint of which
/// no tensor fits is refused, with the prefix to ask for if its names share one: HF would go on
/// with random weights. Nothing is transposed, squeezed or matched by position.
LoadReport load_state_dict(torch::nn::Module& module, const Checkpoint& checkpoint,
                           const LoadOptions& options = {});

}  // namespace w2vbert
