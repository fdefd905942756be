#pragma once

#include <torch/nn/modules/conv.h>
#include <torch/nn/pimpl.h>

#include <memory>
#include <optional>

namespace w2vbert {

/// torch::nn::Conv1d that returns for every shape. oneDNN (3.10 in LibTorch 2.11, 3.13 in 2.15)
/// never returns from building its float16 kernel of some depthwise convolutions, such as 16
/// channels, kernel 31 and 71 frames, on CPUs with AVX512-FP16. That kernel adds float32 products
/// in order and rounds once, as the float32 kernel does with one rounding behind it. So a float16
/// depthwise convolution (groups = in_channels, above 1) that oneDNN would take is computed in
/// float32 and rounded, whatever its padding, stride and dilation. A bias is added in float32 too,
/// where oneDNN's float16 kernel adds it: last, or first in a dilated convolution. The bits and the
/// gradients are torch::conv1d's (docs/parity.md).
class Conv1dImpl : public torch::nn::Conv1dImpl {
 public:
  using torch::nn::Conv1dImpl::Conv1dImpl;
  /// The copy is a w2vbert::Conv1d, too.
  std::shared_ptr<torch::nn::Module> clone(
      const std::optional<torch::Device>& device = std::nullopt) const override;

  /// `input` (B, in_channels, T) -> (B, out_channels, T'), or the same without B. Throws
  /// c10::ValueError for another shape.
  torch::Tensor forward(const torch::Tensor& input);

 private:
  bool is_depthwise() const;
  /// A float16 depthwise convolution in float32, rounded. `input` (B, in_channels, T).
  torch::Tensor forward_rounded(torch::Tensor input) const;
};
TORCH_MODULE(Conv1d);

}  // namespace w2vbert
