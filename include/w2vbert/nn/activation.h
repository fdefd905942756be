#pragma once

#include <torch/nn/pimpl.h>

#include <functional>
#include <string>

#include "w2vbert/nn/module.h"

namespace w2vbert {

/// HF: transformers/activations.py, the module that ACT2FN[name] makes; each place has one of its
/// own.
class ActivationImpl : public Cloneable<ActivationImpl> {
 public:
  /// Throws ConfigError naming `config_key` for a name that is not known.
  ActivationImpl(std::string name, std::string config_key);
  void reset() override;
  void pretty_print(std::ostream& stream) const override;

  /// `input` of any shape -> the same shape. Throws c10::ValueError for an undefined one.
  torch::Tensor forward(const torch::Tensor& input);

  torch::Tensor weight;  ///< (1) for "prelu", otherwise undefined

 private:
  std::string name_;
  std::string config_key_;
  std::function<torch::Tensor(const torch::Tensor&)> function_;  ///< undefined for "prelu"
};
TORCH_MODULE(Activation);

}  // namespace w2vbert
