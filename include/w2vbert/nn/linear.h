#pragma once

#include <torch/nn/modules/linear.h>
#include <torch/nn/pimpl.h>

#include <memory>
#include <optional>

namespace w2vbert {

/// torch::nn::Linear as Python's nn.Linear computes it. LibTorch's own forward multiplies first and
/// adds the bias afterwards, which rounds twice in bfloat16 and float16; Python's is one operation.
class LinearImpl : public torch::nn::LinearImpl {
 public:
  using torch::nn::LinearImpl::LinearImpl;
  /// The copy is a w2vbert::Linear, too.
  std::shared_ptr<torch::nn::Module> clone(
      const std::optional<torch::Device>& device = std::nullopt) const override;

  /// `input` (..., in_features) -> (..., out_features). Throws c10::ValueError for an undefined
  /// one, c10::Error as torch::linear does.
  torch::Tensor forward(const torch::Tensor& input);
};
TORCH_MODULE(Linear);

}  // namespace w2vbert
