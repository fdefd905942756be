#pragma once

#include <torch/nn/modules/activation.h>
#include <torch/nn/modules/dropout.h>
#include <torch/nn/modules/normalization.h>
#include <torch/nn/pimpl.h>

#include "w2vbert/config/wav2vec2_bert_config.h"
#include "w2vbert/nn/activation.h"
#include "w2vbert/nn/conv1d.h"
#include "w2vbert/nn/module.h"

namespace w2vbert {

/// HF: modeling_wav2vec2_bert.py, Wav2Vec2BertConvolutionModule. The depthwise convolution is
/// causal: conv_depthwise_kernel_size - 1 zeros on the left, none on the right.
class Wav2Vec2BertConvolutionModuleImpl : public Cloneable<Wav2Vec2BertConvolutionModuleImpl> {
 public:
  /// Throws ConfigError for a config that validate() refuses.
  explicit Wav2Vec2BertConvolutionModuleImpl(Wav2Vec2BertConfig config);
  void reset() override;
  void pretty_print(std::ostream& stream) const override;

  /// `hidden_states` (B, T, C), of the parameters' dtype -> (B, T, C). `attention_mask` (B, T),
  /// zero where a frame is padding, or undefined. Throws c10::ValueError.
  torch::Tensor forward(torch::Tensor hidden_states, const torch::Tensor& attention_mask = {});

  torch::nn::LayerNorm layer_norm = nullptr;
  Conv1d pointwise_conv1 = nullptr;
  torch::nn::GLU glu = nullptr;
  Conv1d depthwise_conv = nullptr;
  torch::nn::LayerNorm depthwise_layer_norm = nullptr;
  Activation activation = nullptr;
  Conv1d pointwise_conv2 = nullptr;
  torch::nn::Dropout dropout = nullptr;

 private:
  friend class Wav2Vec2BertEncoderLayerImpl;
  /// forward() of checked inputs. `padded` bool (B, T, 1), true where a frame is padding, or
  /// undefined: the encoder makes it once for all layers.
  torch::Tensor forward_checked(torch::Tensor hidden_states, const torch::Tensor& padded);

  Wav2Vec2BertConfig config_;
};
TORCH_MODULE(Wav2Vec2BertConvolutionModule);

}  // namespace w2vbert
