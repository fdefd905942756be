#pragma once

#include <torch/nn/modules/activation.h>
#include <torch/nn/modules/dropout.h>
#include <torch/nn/modules/normalization.h>
#include <torch/nn/pimpl.h>

#include "w2vbert/config/wav2vec2_bert_config.h"
#include "w2vbert/nn/conv1d.h"
#include "w2vbert/nn/feed_forward.h"
#include "w2vbert/nn/module.h"
#include "w2vbert/nn/self_attention.h"

namespace w2vbert {

/// HF: modeling_wav2vec2_bert.py, Wav2Vec2BertAdapterLayer. E is the adapter's width
/// (output_hidden_size).
class Wav2Vec2BertAdapterLayerImpl : public Cloneable<Wav2Vec2BertAdapterLayerImpl> {
 public:
  /// Throws ConfigError for a config that validate() refuses.
  explicit Wav2Vec2BertAdapterLayerImpl(Wav2Vec2BertConfig config);
  void reset() override;
  void pretty_print(std::ostream& stream) const override;

  /// `hidden_states` (B, T, E), of the parameters' dtype -> (B, T', E), T' = floor((T + 2 *
  /// (stride / 2) - kernel) / stride) + 1. `sub_sampled_lengths` (B): how many of the T' frames may
  /// be attended to; undefined: all. With sdpa these are looked at, which waits for the device, as
  /// HF does. Throws c10::ValueError.
  torch::Tensor forward(torch::Tensor hidden_states, const torch::Tensor& sub_sampled_lengths = {});

  torch::nn::LayerNorm residual_layer_norm = nullptr;
  Conv1d residual_conv = nullptr;
  torch::nn::GLU activation = nullptr;
  torch::nn::LayerNorm self_attn_layer_norm = nullptr;
  Conv1d self_attn_conv = nullptr;
  Wav2Vec2BertSelfAttention self_attn = nullptr;
  torch::nn::Dropout self_attn_dropout = nullptr;
  torch::nn::LayerNorm ffn_layer_norm = nullptr;
  Wav2Vec2BertFeedForward ffn = nullptr;

 private:
  Wav2Vec2BertConfig config_;
};
TORCH_MODULE(Wav2Vec2BertAdapterLayer);

}  // namespace w2vbert
