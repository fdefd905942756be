// A checkpoint -> the parameters of any torch::nn::Module, by name.
#pragma once

#include <torch/nn/module.h>

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "w2vbert/checkpoint/weight_source.h"

namespace w2vbert {

struct LoadOptions {
  /// Stands before every wanted name in the file, such as "semantic_model."; the dot may be left
  /// out. Tensors without it are not looked at, but for those of a head where it ends inside of the
  /// base model ("wav2vec2_bert.module."). What torch.compile and FSDP put into names
  /// ("_orig_mod.") may be left out: it is not looked at.
  std::string prefix;
  /// HF's base_model_prefix: for each key, "wav2vec2_bert." is taken away if the module knows the
  /// rest, else put before it if the module knows that (transformers, core_model_loading.py).
  std::string base_model_prefix = "wav2vec2_bert";
  /// What is missing or of another shape or dtype keeps the values the module was built with, with
  /// a warning each, instead of being an error.
  bool lenient = false;
  /// The module's names of what gets its values elsewhere (replaced_by_lora()): it may be missing,
  /// or of another shape, and is not read.
  std::vector<std::string> replaced = {};
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
  /// What only training uses (masked_spec_embed) and the source does not have: no error. It is
  /// initialised as HF does it, with a warning. Lenient loading counts it as missing.
  std::vector<std::string> initialized;
  /// LoadOptions::replaced, as far as the module has it.
  std::vector<std::string> replaced;
  /// The source's names: other heads, further layers. No error.
  std::vector<std::string> unexpected;
  /// Another shape, another kind of dtype, two tensors for one name.
  std::vector<Mismatch> mismatched;
  /// Under lenient loading one "[Wav2Vec-BERT] ..." for each missing or mismatched name; otherwise
  /// an index that is not used, weights that are NaN throughout.
  std::vector<std::string> warnings;
  std::int64_t loaded = 0;
  /// A prefix under which the missing names are in the file, with its dot; HF would not find them.
  std::string prefix_found;
  /// The source was saved from a model of PEFT's whose adapter has not been merged.
  bool has_unmerged_adapter = false;

  bool complete() const { return missing.empty() && mismatched.empty(); }
  /// One line: how many of each, and the first names of what is wrong (at most 20, under 1.1 KB).
  std::string summary() const;
};

/// Compares names, shapes and dtypes of `module`'s parameters and buffers (without those of
/// nn/module.h) with the source, reading no tensor data and changing nothing; the
/// module's memory is not looked at (SkipInitialization). `loaded` is what load_state_dict would
/// load.
LoadReport compare_state_dict(const torch::nn::Module& module, const WeightSource& source,
                              const LoadOptions& options = {});

/// Compares first and then copies, in the order of the source, converting F16, BF16, F32 and F64 to
/// the parameter's dtype and device, and integers and BOOL to an integer buffer's. Strict (the
/// default): anything missing or mismatched is one CheckpointError that lists it, before anything
/// is copied. Lenient or not, a source of which no tensor fits is refused, with the prefix to ask
/// for if its names share one: HF would go on with random weights. Nothing is transposed, squeezed
/// or matched by position.
LoadReport load_state_dict(torch::nn::Module& module, const WeightSource& source,
                           const LoadOptions& options = {});

/// The tensors of a source that fit a module, under the module's names: so that some can be read
/// without a module that holds them (engine/fuse.h).
class MatchedWeights final : public WeightSource {
 public:
  /// Compares as compare_state_dict() and throws as load_state_dict(). The module is not needed
  /// afterwards; its memory is not looked at.
  MatchedWeights(const torch::nn::Module& module, std::shared_ptr<const WeightSource> source,
                 const LoadOptions& options = {});

  /// What the whole module and the source have in common, with the warnings of a lenient load.
  const LoadReport& report() const { return report_; }

  const std::string& path() const override { return source_->path(); }
  std::vector<std::string> names() const override { return names_; }
  const WeightInfo* find(std::string_view name) const override;
  void read(std::string_view name, const at::Tensor& destination) const override;
  void read_rows(std::string_view name, std::int64_t first, std::int64_t count,
                 float* to) const override;
  const std::vector<std::string>& warnings() const override { return source_->warnings(); }

  /// What the source calls it.
  const std::string& name_in_source(std::string_view name) const;

 private:
  std::shared_ptr<const WeightSource> source_;
  LoadReport report_;
  std::vector<std::string> names_;                        // in the source's order
  std::unordered_map<std::string, std::string> matches_;  // the module's name -> the source's
};

/// The second half of load_state_dict: copies what `module` has, which is the one that was
/// matched, or what is left of it. Of the others it reads only as much as the warnings need, of
/// weights that are NaN throughout.
LoadReport load_matched(torch::nn::Module& module, const MatchedWeights& weights);

}  // namespace w2vbert
