// A module -> a model directory that transformers loads.
#pragma once

#include <torch/nn/module.h>

#include <concepts>
#include <cstdint>
#include <string>
#include <string_view>

#include "w2vbert/config/wav2vec2_bert_config.h"

namespace w2vbert {

/// HF's max_shard_size: a number of bytes, or a text such as "5GB" or " 1.5 mb": a number and KB,
/// MB, GB or TB, which are powers of 1000, in any case, below 2^63 bytes.
class ShardSize {
 public:
  /// Throws c10::ValueError for what is no size.
  template <std::integral Bytes>
  ShardSize(Bytes bytes)  // NOLINT(google-explicit-constructor): as in HF, "5GB" and 5'000'000'000
      : ShardSize(bytes < Bytes{0}, static_cast<std::uint64_t>(bytes)) {}
  ShardSize(std::string_view text);  ///< NOLINT(google-explicit-constructor)
  ShardSize(const char* text)        // NOLINT(google-explicit-constructor)
      : ShardSize(std::string_view(text)) {}

  std::uint64_t bytes() const noexcept { return bytes_; }

 private:
  ShardSize(bool negative, std::uint64_t bytes);

  std::uint64_t bytes_;
};

struct SavePretrainedOptions {
  /// The weights are spread over files of at most this many bytes of data each; a larger tensor has
  /// a file of its own.
  ShardSize max_shard_size = "50GB";  ///< HF's default
};

/// HF's PreTrainedModel.save_pretrained (modeling_utils.py). Writes into `directory`, which is made
/// if need be: config.json (Wav2Vec2BertConfig::to_json), with the module's class as
/// `architectures` (its C++ name without namespace and Impl) and the dtype of its first floating
/// parameter as `dtype`; and model.safetensors, or model-0000i-of-0000N.safetensors with
/// model.safetensors.index.json. Tensors keep dtype and values, NaN too, and are shared out in the
/// order of the module, as HF does for a model that was built from a config. Buffers that are not
/// part of a checkpoint are left out. Other files of the directory stay; weights of an earlier save
/// under the names above go, also those that HF leaves although it would load them.
///
/// Everything is first written beside its place, so that a save that fails (a full disk) leaves the
/// directory as it was. Where config.json stays the same and the weights are one file, that file is
/// replaced in one step. Otherwise config.json is removed before the first and put back after the
/// last change: a kill in between leaves a directory that does not load, and never one that loads
/// as a mixture; saving again repairs it.
///
/// Throws, before anything is changed, c10::ValueError for a parameter that has no values (meta) or
/// is neither float32, float16, bfloat16 nor float64, ConfigError for a config that does not hold;
/// and StorageError for a place that cannot be written, and one with an adapter_config.json, which
/// transformers would load on top.
void save_pretrained(const torch::nn::Module& module, const Wav2Vec2BertConfig& config,
                     const std::string& directory, const SavePretrainedOptions& options = {});

/// The same with the model's own config. ModuleHolder: one of the model classes, or AnyModel.
template <class ModuleHolder>
void save_pretrained(const ModuleHolder& model, const std::string& directory,
                     const SavePretrainedOptions& options = {}) {
  if constexpr (requires { model.config(); }) {
    save_pretrained(*model, model.config(), directory, options);
  } else {
    save_pretrained(*model, model->config, directory, options);
  }
}

}  // namespace w2vbert
