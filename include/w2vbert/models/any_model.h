#pragma once

#include <torch/nn/module.h>

#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "w2vbert/config/wav2vec2_bert_config.h"
#include "w2vbert/models/modeling_outputs.h"
#include "w2vbert/nn/encoder.h"

namespace w2vbert {

/// What the forwards of the model classes take; undefined: not given.
struct ModelInputs {
  torch::Tensor input_features;
  torch::Tensor attention_mask;
  torch::Tensor mask_time_indices;  ///< Wav2Vec2BertModel
  torch::Tensor labels;             ///< the heads
};

/// HF's output fields under their names; hidden_states and attentions as "hidden_states.<n>".
using ModelOutputs = std::vector<std::pair<std::string, torch::Tensor>>;

/// A model of the class that config.json names: what an Auto class is in HF, but chosen by
/// architectures[0]. Used like a module holder, so from_pretrained<AnyModel> loads one.
class AnyModel {
 public:
  AnyModel(std::nullptr_t) {}  // NOLINT(google-explicit-constructor): as TORCH_MODULE's holders
  explicit AnyModel(const Wav2Vec2BertConfig& config);  ///< throws as class_of does

  /// architectures[0]. Throws ConfigError naming `path` when it is absent or not one of classes().
  static const std::string& class_of(const Wav2Vec2BertConfig& config,
                                     const std::string& path = "config");

  /// The names that architectures[0] may have.
  static const std::vector<std::string>& classes();
  /// What of ModelInputs the forward of one of classes() takes. Throws c10::ValueError for another
  /// name.
  static const std::vector<std::string>& inputs(const std::string& class_name);

  /// Throws as the class does, and c10::ValueError for an input that the class does not take.
  ModelOutputs forward(const ModelInputs& inputs, const ForwardOptions& options = {});

  const Wav2Vec2BertConfig& config() const { return *config_; }
  torch::nn::Module& operator*() const { return *module_; }
  torch::nn::Module* operator->() const { return module_.get(); }

 private:
  template <class Holder>
  void hold(const Wav2Vec2BertConfig& config);

  std::shared_ptr<torch::nn::Module> module_;
  const Wav2Vec2BertConfig* config_ = nullptr;  ///< the module's own
  std::function<ModelOutputs(const ModelInputs&, const ForwardOptions&)> forward_;
};

}  // namespace w2vbert
