#pragma once

#include <torch/nn/modules/dropout.h>
#include <torch/nn/modules/normalization.h>
#include <torch/nn/pimpl.h>

#include "w2vbert/config/wav2vec2_bert_config.h"
#include "w2vbert/nn/convolution_module.h"
#include "w2vbert/nn/feed_forward.h"
#include "w2vbert/nn/module.h"
#include "w2vbert/nn/self_attention.h"

namespace w2vbert {

/// HF: modeling_wav2vec2_bert.py, Wav2Vec2BertEncoderLayer.
class Wav2Vec2BertEncoderLayerImpl : public Cloneable<Wav2Vec2BertEncoderLayerImpl> {
 public:
  struct Output {
    torch::Tensor hidden_states;  ///< (B, T, C)
    torch::Tensor attn_weights;   ///< (B, H, T, T); undefined with sdpa
  };

  /// Throws ConfigError for a config that validate() refuses.
  explicit Wav2Vec2BertEncoderLayerImpl(Wav2Vec2BertConfig config);
  void reset() override;
  void pretty_print(std::ostream& stream) const override;

  /// `hidden_states` (B, T, C), of the parameters' dtype; `attention_mask` (B, 1, T, T) and
  /// `relative_position_embeddings` as for Wav2Vec2BertSelfAttention, whose forward() says how the
  /// mask is made; `conv_attention_mask` (B, T), zero where a frame is padding, as for
  /// Wav2Vec2BertConvolutionModule. Throws c10::ValueError.
  Output forward(torch::Tensor hidden_states, const torch::Tensor& attention_mask = {},
                 const torch::Tensor& relative_position_embeddings = {},
                 const torch::Tensor& conv_attention_mask = {});

  torch::nn::LayerNorm ffn1_layer_norm = nullptr;
  Wav2Vec2BertFeedForward ffn1 = nullptr;
  torch::nn::LayerNorm self_attn_layer_norm = nullptr;
  torch::nn::Dropout self_attn_dropout = nullptr;
  Wav2Vec2BertSelfAttention self_attn = nullptr;
  Wav2Vec2BertConvolutionModule conv_module = nullptr;
  torch::nn::LayerNorm ffn2_layer_norm = nullptr;
  Wav2Vec2BertFeedForward ffn2 = nullptr;
  torch::nn::LayerNorm final_layer_norm = nullptr;

 private:
  friend class Wav2Vec2BertEncoderImpl;
  /// forward() of checked inputs; `padded` as for Wav2Vec2BertConvolutionModule.
  Output forward_checked(torch::Tensor hidden_states, const torch::Tensor& attention_mask,
                         const torch::Tensor& relative_position_embeddings,
                         const torch::Tensor& padded);

  Wav2Vec2BertConfig config_;
};
TORCH_MODULE(Wav2Vec2BertEncoderLayer);

}  // namespace w2vbert
